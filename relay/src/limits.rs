//! Every bound of the relay, in one table. Those of the protocol are in [`zerok_sync_shared::limits`].
//!
//! Bytes unless the name says otherwise.

use std::time::Duration;

use zerok_sync_shared::limits::MAX_FRAME;

use crate::budget::Bounds;

// ---- TCP and HTTP

/// HTTP connections at a time; further ones wait in the kernel's queue.
pub const MAX_HTTP_CONNECTIONS: usize = 4_096;
/// Relayed WebSocket connections at a time; further ones are refused.
pub const MAX_WEBSOCKETS: usize = 16_384;
/// A request whose headers are not complete by then is dropped, and so is an idle keep-alive connection.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// A request that has no answer by then, because its body does not come or the relay is stuck, gets 408.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection whose TLS handshake is not complete by then is dropped.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the files of the certificate are looked at.
pub const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);
/// A WebSocket whose handshake is not complete by then is cut.
pub const WEBSOCKET_TIMEOUT: Duration = Duration::from_secs(15);
/// A WebSocket that takes no byte of what is sent to it for so long is cut.
pub const WEBSOCKET_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest message on a WebSocket: the longest packet with what is around it.
pub const MAX_WEBSOCKET_MESSAGE: usize = iroh_relay::MAX_PACKET_SIZE + 1024;
/// Bytes a second that are read from one WebSocket by default.
pub const DEFAULT_WEBSOCKET_RATE: u64 = 16 * 1024 * 1024;
/// Connections of each kind that one address may have open by default.
pub const DEFAULT_CONNECTIONS_PER_ADDRESS: u32 = 256;
/// Connections that are told at a time that their address has too many; further ones are just closed.
pub const MAX_TURNED_AWAY: usize = 64;
/// What a client is told to wait when there are too many connections.
pub const CONNECTIONS_RETRY: Duration = Duration::from_secs(10);
/// Connections to the relay's own way in: its endpoint needs one.
pub const MAX_OWN_CONNECTIONS: usize = 8;
/// An HTTP connection that serves no WebSocket is closed after this, whatever it does.
pub const HTTP_LIFETIME: Duration = Duration::from_secs(600);
/// What is read of a request before its headers are complete.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Longest body of a request to the API.
pub const MAX_HTTP_BODY: usize = 32 * 1024;
/// Public keys of WebSocket clients that are kept parsed.
pub const KEY_CACHE: usize = 4_096;

// ---- Connections and sessions

/// Connections of devices at a time; further ones are refused.
pub const MAX_CONNECTIONS: usize = 8_192;
/// A connection whose TLS handshake is not complete by then is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Payload bytes that one session may have handed to the storage.
pub const MAX_STORING: usize = 2 * 1024 * 1024;
/// Payload bytes of one page for a subscriber, and about what a slow reader costs.
pub const PAGE: usize = 1024 * 1024;
/// Bytes queued for a device, beside those that were taken of [`SENDING`], at which its frames are no longer read.
pub const MAX_QUEUED: usize = 256 * 1024;
/// Bytes of pages and other long answers that are read, or queued until QUIC takes them.
pub const SENDING: Bounds = Bounds {
    all: 64 * 1024 * 1024,
    network: 16 * 1024 * 1024,
    connection: 5 * 1024 * 1024,
};
/// What a page or a part of a snapshot takes of it, until it is known how long it is.
pub const PAGE_COST: usize = MAX_FRAME + 128 * 1024;
/// What a blob takes of it beside its payload, about.
pub const BLOB_COST: usize = 128;
/// What certificates with a member list take of it, until it is known how long they are.
pub const KEYS_COST: usize = 256 * 1024;
/// The same for a list of marks or of devices.
pub const LIST_COST: usize = 64 * 1024;
/// Bytes of frames that are on their way, or wait until they are handed on.
pub const RECEIVING: Bounds = Bounds {
    all: 64 * 1024 * 1024,
    network: 16 * 1024 * 1024,
    connection: 8 * 1024 * 1024,
};
/// A frame that is longer is paid for out of [`RECEIVING`] before more of it is read.
pub const LONG_FRAME: usize = 16 * 1024;
/// What a device is told to wait when there is no room for its frame.
pub const RECEIVING_RETRY: Duration = Duration::from_secs(10);
/// A device that takes no byte of what is queued for so long loses its stream, and so does one that takes it more slowly
/// than [`MIN_READ_RATE`] for twice as long.
pub const SLOW_READER: Duration = Duration::from_secs(30);
/// Bytes a second that a device takes at least while something waits for it, and sends at least of a frame that it has
/// begun; the slowest of phones gets more.
pub const MIN_READ_RATE: u64 = 1024;
/// The same while others wait for the memory that it holds.
pub const WANTED_RATE: u64 = 16 * 1024;
/// How long that is looked at.
pub const WANTED_STEP: Duration = Duration::from_secs(5);
/// What a device is told to wait that has sent a part of a frame and too little of the rest.
pub const SLOW_SENDER_RETRY: Duration = Duration::from_secs(5);
/// How long the last message of a stream may take to arrive.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Devices that may come back per second after a restart: so many handshakes one small machine does beside its work.
pub const RESTART_RATE: u32 = 100;
/// No device is asked to come back earlier than this after a stop.
pub const RESTART_WAIT: Duration = Duration::from_secs(1);
/// Shortest and longest time over which the devices of a relay are spread when they come back.
pub const RESTART_SPREAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));
/// A stop that has not ended by then is given up, before a container's host kills it (ten seconds).
pub const STOP_TIMEOUT: Duration = Duration::from_secs(9);
/// How long a device may take to close its connection after its last session was ended by a stop.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a stop waits for sessions to end.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the start waits until the relay's own endpoint is reachable through its WebSocket.
pub const START_TIMEOUT: Duration = Duration::from_secs(20);

// ---- Presence and ephemeral messages

/// A device that has no session any more is told gone after this, if it is not back by then.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(3);
/// Devices of one group whose coming and going waits for one session; with more it reads the list again.
pub const MAX_CHANGES: usize = 256;
/// Ephemeral messages that wait for one session; the oldest goes first.
pub const MAX_SAID: usize = 32;
/// Bytes queued for a device at which it is told nothing of presence and ephemeral messages: what is stored comes first.
pub const LIVE_QUEUED: usize = 64 * 1024;
/// Devices of one group on other nodes that are remembered.
pub const MAX_ATTENDING: usize = 4_096;
/// Ephemeral messages that wait to be told to other nodes; the oldest goes first.
pub const MAX_SAID_TO_NODES: usize = 256;
/// Devices in one entry of a notice: with its group they fit.
pub const NOTICE_DEVICES: usize = 160;

// ---- Access

/// The file of access tokens is looked at so often; a change counts when it was seen twice.
pub const TOKENS_INTERVAL: Duration = Duration::from_secs(1);
/// Longest file of access tokens: some 50,000 of them.
pub const MAX_TOKENS_FILE: u64 = 4 * 1024 * 1024;

// ---- Rates

/// Messages a second of one device by default. Ten thousand queued pushes go through in the first burst.
pub const DEFAULT_DEVICE_MESSAGES: u32 = 2_000;
/// Bytes a second of one device by default.
pub const DEFAULT_DEVICE_BYTES: u64 = 16 * 1024 * 1024;
/// How many seconds' worth may come at once.
pub const RATE_BURST: u32 = 10;
/// A message that comes too soon waits for so long at most, and nothing after it is read; then it is refused.
pub const MAX_HOLD: Duration = Duration::from_secs(5);
/// Devices whose rates are remembered; those that come when there are more share one.
pub const MAX_RATED_DEVICES: usize = 65_536;
/// Groups that may be founded from one address in a day, by default. Many people can stand behind one address.
pub const DEFAULT_GROUPS_PER_DAY: u32 = 1_000;

// ---- Storage

/// Blobs that wait for the writer.
pub const WRITER_QUEUE: usize = 4_096;
/// Payload bytes that wait for the writer or are being written.
pub const WRITER_BYTES: usize = 64 * 1024 * 1024;
/// Blobs in one transaction.
pub const BATCH_BLOBS: usize = 1_024;
/// Payload bytes in one transaction; one blob more may pass it.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// What a blob weighs in a transaction beside its payload: about so many bytes more are written in the same time.
pub const BLOB_WEIGHT: usize = 4 * 1024;
/// What a transaction may take while several groups push. A group that pushes without end then makes the others wait for
/// little.
pub const MIXED_TIME: Duration = Duration::from_millis(3);
/// The same for a group that is alone. It gets nearly all that the disk can do, and who comes along waits a moment.
pub const LONE_TIME: Duration = Duration::from_millis(15);
/// Weight that the first transactions may have, when nothing is known yet.
pub const FIRST_WEIGHT: usize = 512 * 1024;
/// Weight that a transaction may have however long that takes, and at most. The least is what makes it worth a flush.
pub const PACE_BOUNDS: (usize, usize) = (128 * 1024, BATCH_BYTES + BATCH_BLOBS * BLOB_WEIGHT);
/// Weight that each group which waits brings along, however long that takes: where all push without end, nobody has less of
/// a wait for small transactions.
pub const GROUP_WEIGHT: usize = 40 * 1024;
/// By how much the next transaction may be smaller or larger than one that took too long or less than it might.
pub const PACE_STEPS: (f64, f64) = (0.8, 1.25);
/// Weight that one group may have a second while others push, and at once when it had less before. What is beyond it rests:
/// it would take the disk and the processor from them.
pub const GROUP_SHARE: u32 = 24 * 1024 * 1024;
/// See [`GROUP_SHARE`].
pub const GROUP_BURST: u32 = 8 * 1024 * 1024;
/// Payload bytes of one group that wait for the writer or are being written.
pub const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// For so long after another group pushed something it counts as one that pushes.
pub const GROUPS_MIXED: Duration = Duration::from_secs(5);
/// What a blob that waits takes beside its payload, about.
pub const WAITING_BLOB: usize = 512;
/// Blobs that are kept in memory for subscribers, of all groups.
pub const RECENT_BLOBS: usize = 65_536;
/// What they may take.
pub const RECENT_BYTES: usize = 32 * 1024 * 1024;
/// Acknowledgements that wait for the next transaction.
pub const MAX_PENDING_SEEN: usize = 65_536;
/// Acknowledgements are stored at least so often.
pub const SEEN_INTERVAL: Duration = Duration::from_secs(5);
/// What a device is told to wait after the storage failed.
pub const STORAGE_RETRY: Duration = Duration::from_secs(5);
/// What a device is told to wait when the group's storage is used up.
pub const QUOTA_RETRY: Duration = Duration::from_secs(60);
/// Cursors that one question for a page walks over at most.
pub const WALKED_ROWS: u64 = 4096;
/// Connections that read from the database.
pub const READERS: u32 = 4;
/// Bytes written to the write-ahead log, about, after which its pages are moved to the database.
pub const MOVE_BYTES: u64 = 2 * 1024 * 1024;
/// What a transaction writes there beside its blobs, about.
pub const WRITE_BYTES: u64 = 64 * 1024;
/// Pages of the log at which it shall begin anew.
pub const LOG_PAGES: u64 = 8 * 1024;
/// Bytes, about, that may be left to move in the writer's turn when it does.
pub const REST_BYTES: u64 = 256 * 1024;
/// How often what was written in the meantime is moved before that, at most.
pub const MOVES: usize = 6;
/// Length of the write-ahead log at which readers wait for a moment, so that it can begin anew.
pub const WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes more at which it tries again what it could not do.
pub const WAL_STEP: u64 = WAL_BYTES / 4;
/// How long that waits for readers before it gives up for now; twice as long each time after that.
pub const WAL_PATIENCE: Duration = Duration::from_millis(250);
/// How often that is doubled at most.
pub const WAL_DOUBLINGS: u32 = 4;
/// How long a WebSocket lives on when its access token does not count any more.
pub const WITHDRAWN_TOKEN: Duration = Duration::from_secs(5);
/// How old the numbers of `/health` and of the status page may be: everybody may ask, and counting reads all groups.
pub const HOLDINGS_AGE: Duration = Duration::from_secs(2);
/// How long a query waits for a lock or a connection.
pub const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);
/// A system clock that is ahead of the relay's own count by more is doubted; a jump by less expires blobs at most so much
/// too early.
pub const CLOCK_AHEAD: Duration = Duration::from_secs(24 * 3600);
/// A system clock that is behind by more is doubted; one that is behind by less is waited for.
pub const CLOCK_BEHIND: Duration = Duration::from_secs(3600);
/// A doubted clock that has gone on evenly for so long is believed: time enough for a person to set it right.
pub const CLOCK_GRACE: Duration = Duration::from_secs(24 * 3600);
/// The same trouble of a database is told again after this.
pub const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Expired blobs deleted in one transaction, so that pushes get their turn.
pub const EXPIRE_BLOBS: u32 = 256;
/// Snapshots of a group that can be on their way at once.
pub const UNFINISHED_SNAPSHOTS: u64 = 4;
/// After this time one that is not complete is given up.
pub const UNFINISHED_AGE: Duration = Duration::from_secs(3600);
/// Snapshots deleted in one transaction.
pub const EXPIRE_SNAPSHOTS: u32 = 16;
/// A device that was seen within this time counts as active in the metrics.
pub const ACTIVE: Duration = Duration::from_secs(24 * 3600);
/// Groups looked at in one step for blobs that all their devices have acknowledged.
pub const SWEEP_GROUPS: u32 = 256;
/// Bytes of a snapshot that one transaction of SQLite stores.
pub const SNAPSHOT_PIECE: usize = 64 * 1024;
/// How many times as long as a piece took snapshots rest after it.
pub const PIECE_REST: u32 = 3;
/// Such pieces that one transaction deletes.
pub const CLEARED_PIECES: u32 = 2;
/// Devices forgotten in one transaction.
pub const FORGET_DEVICES: u32 = 256;
/// Groups forgotten in one transaction.
pub const FORGET_GROUPS: u32 = 64;
/// Devices that stay connected are noted as seen this often, and more often where [`DEFAULT_INACTIVE_AFTER`] was made short.
pub const NOTE_ATTENDING: Duration = Duration::from_secs(24 * 3600);
/// Devices noted so in one transaction.
pub const NOTED_AT_ONCE: usize = 512;
/// Free pages given back to the file system in one transaction.
pub const VACUUM_PAGES: u64 = 512;
/// Free pages that are kept for the next blobs.
pub const SPARE_PAGES: u64 = 256;
/// How long a device may stay away by default before it holds nothing back.
pub const DEFAULT_INACTIVE_AFTER: Duration = Duration::from_secs(90 * 24 * 3600);
/// What a blob's row counts beside its payload, from when it is stored until it expires: about what it takes up in tables
/// and indexes.
pub const ROW_BYTES: u64 = 256;
/// How long blobs may be kept at most by default, whatever a device asks for.
pub const DEFAULT_MAX_BLOB_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// Bytes that stay free on the disk by default: time for a person to do something, and room for a write-ahead log.
pub const DEFAULT_MIN_FREE_DISK: u64 = 256 * 1024 * 1024;
/// How old may be what is known of how much a shared database holds; and how old when it holds too much.
pub const MEASURE_STORAGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// Groups by default.
pub const DEFAULT_MAX_GROUPS: u64 = 100_000;
/// Bytes a group may store by default.
pub const DEFAULT_GROUP_QUOTA: u64 = 1024 * 1024 * 1024;

// ---- What operators see

/// Minutes on the plots of the status page.
pub const HISTORY_MINUTES: usize = 60;
/// How long one of them is.
pub const HISTORY_STEP: Duration = Duration::from_secs(60);

// ---- Invites

/// Invites that can be claimed, at a time.
pub const MAX_INVITES: u64 = 10_000;
/// How long people are told what became of an invite.
pub const TOMBSTONE: Duration = Duration::from_secs(24 * 3600);
/// What a creator is told to wait when there are too many invites.
pub const INVITES_RETRY: Duration = Duration::from_secs(60);
/// Requests to the invites API that one address may make at once.
pub const INVITE_BURST: u32 = 60;
/// Addresses whose rate is remembered.
pub const MAX_RATED_ADDRESSES: usize = 65_536;

// ---- PostgreSQL and several nodes

/// Connections that read; those that write and listen are four more.
pub const POSTGRES_READERS: u32 = 8;
/// How long a connection counts as alive after it was used.
pub const TRUST_CONNECTION: Duration = Duration::from_secs(1);
/// How long one statement may take, waiting for locks included, and a transaction may lie idle. The server enforces it, so
/// that a node that freezes lets go of the groups it has locked.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(8);
/// How often a transaction is tried that failed because of another one, or whose connection was lost.
pub const DATABASE_ATTEMPTS: u32 = 8;
/// How often a node says that it lives.
pub const NODE_HEARTBEAT: Duration = Duration::from_secs(3);
/// A node that has not said so for this long is told to no device.
pub const NODE_STALE: Duration = Duration::from_secs(10);
/// A node that has not said so for this long is forgotten.
pub const NODE_FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// Nodes that devices are told of.
pub const MAX_NODES: u32 = 64;
/// Length of one notice; PostgreSQL takes less than 8,000.
pub const NOTICE: usize = 7_900;
/// Groups that wait to be announced; with more, the other nodes are told to look at all of theirs.
pub const MAX_ANNOUNCED: usize = 65_536;
/// The wait before a notice is sent again, or listening begins again.
pub const NOTICE_RETRY: Duration = Duration::from_secs(1);
/// How often a node looks for what no notice told it.
pub const LOOK: Duration = Duration::from_secs(10);
/// The same where there are no notices.
pub const LOOK_WITHOUT_NOTICES: Duration = Duration::from_secs(1);
/// Groups that are looked at with one question.
pub const LOOK_GROUPS: usize = 1_000;
