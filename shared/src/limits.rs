//! Every bound of the protocol, in one table.
//!
//! A limit is checked before memory is spent on what it limits. Bytes unless the name says otherwise.

use core::time::Duration;

/// What an app may put into one blob.
pub const MAX_BODY: usize = 1024 * 1024;
/// What sealing adds at most before padding: the MessagePack envelope (kind, sequence, witness, length of the body).
pub const MAX_ENVELOPE: usize = 128;
/// Longest sealed payload of a blob: [`MAX_BODY`] in its envelope, padded by PADMÉ, with nonce and tag.
///
/// PADMÉ rounds a length of 2²⁰ up to a multiple of 2¹⁵.
pub const MAX_PAYLOAD: usize = MAX_BODY + 32 * 1024 + 40;
/// Longest frame, without its length prefix: the longest payload and 4 KiB for everything else.
pub const MAX_FRAME: usize = MAX_PAYLOAD + 4096;
/// Longest frame before a session is established: a HELLO with its certificates.
pub const MAX_HELLO_FRAME: usize = 192 * 1024;

/// Capabilities that a HELLO or WELCOME may list.
pub const MAX_CAPABILITIES: usize = 32;
/// Longest capability name.
pub const MAX_CAPABILITY_LEN: usize = 32;
/// Rotations that a group can have. The whole chain fits one HELLO.
pub const MAX_CERTIFICATES: usize = 256;

/// Longest rotation certificate.
pub const MAX_CERTIFICATE: usize = 640;

/// Devices that a rotation can give keys to, so that their packets fit one frame.
pub const MAX_MEMBERS: usize = 512;

/// Rotations that are sent for members whom their author has not seen yet; then those are left out.
pub const ROTATION_ATTEMPTS: u32 = 3;

/// How far a sequence may be ahead of what is known of its sender. Whoever pushed in another's name could otherwise leave it
/// no sequence.
pub const MAX_SEQUENCE_JUMP: u64 = 1 << 32;

/// Longest sealed member list.
pub const MAX_SEALED_MEMBERS: usize = 96 * MAX_MEMBERS;

/// Longest state of an app that a snapshot holds.
pub const MAX_SNAPSHOT: usize = 16 * MAX_BODY;
/// Parts of a snapshot, its header among them.
pub const MAX_SNAPSHOT_PARTS: u32 = 17;
/// Blobs since the newest snapshot after which a device asks its app for another one.
pub const SNAPSHOT_BLOBS: u64 = 1_000;
/// Payload bytes since then after which it does so too.
pub const SNAPSHOT_BYTES: u64 = 8 * 1024 * 1024;
/// When a device has joined, that many since the newest snapshot are enough.
pub const SNAPSHOT_JOIN_BLOBS: u64 = 20;
/// Longest time that a device waits before it makes a snapshot that is due: the devices of a group draw lots by it.
pub const SNAPSHOT_JITTER: Duration = Duration::from_secs(10);
/// How long the app may take to give its state.
pub const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);
/// A snapshot that could not be made or was refused is tried again after this.
pub const SNAPSHOT_RETRY: Duration = Duration::from_secs(600);
/// A device that lacks blobs asks again after this whether there is a snapshot with them, and then after twice as long.
pub const SNAPSHOT_ASK: Duration = Duration::from_secs(10);
/// How often a device asks so in one session.
pub const SNAPSHOT_ASKS: u32 = 8;
/// Snapshots that a device keeps beside each other because none has all of another. Those who have several make one of them.
pub const HELD_SNAPSHOTS: usize = 8;
/// How often a snapshot that is replaced while a device reads it is begun again.
pub const SNAPSHOT_RESTARTS: u32 = 3;

/// Longest description of what a device runs on.
pub const MAX_PLATFORM: usize = 64;

/// Time to live of roster entries, in seconds: ten years, the longest that a relay takes.
pub const ROSTER_TTL: u32 = 3650 * 24 * 3600;
/// Time to live of tombstones, in seconds: as long as a relay takes, because whoever was away has to hear of them.
pub const TOMBSTONE_TTL: u32 = 3650 * 24 * 3600;
/// Blobs of a relay whose place in its history a device remembers, to compare it with what others have seen.
pub const MAX_TRAIL: usize = 64;
/// Blobs to be erased that a device remembers; with so many it first erases before it reads on.
pub const MAX_GRAVES: usize = 1_024;
/// Cursors of which a HELLO may ask what is there.
pub const MAX_MARKS: usize = 4;
/// Longest access token.
pub const MAX_ACCESS_TOKEN: usize = 512;
/// Longest text of an ERROR or BYE.
pub const MAX_TEXT: usize = 512;

/// What an app may put into one message to those who are there now. Sealed and as text it fits a NOTIFY of PostgreSQL.
pub const MAX_EPHEMERAL: usize = 4 * 1024;
/// Longest sealed payload of such a message: PADMÉ rounds a length of 2¹² up to a multiple of 2⁸; then nonce and tag.
pub const MAX_EPHEMERAL_PAYLOAD: usize = MAX_EPHEMERAL + 256 + 40;
/// Devices that an answer to DEVICES lists: those that are there, and then those that were there last.
pub const MAX_LISTED_DEVICES: usize = 512;
/// Runs of one sender of whose messages a device remembers the last: an older message of them is not taken again.
pub const MAX_SENDER_RUNS: usize = 4;
/// For so long after its session was lost a device takes those for present who were: time enough to reach the relay again.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(15);

/// Blob ids in one HAS.
pub const MAX_HAS_IDS: usize = 1_000;
/// Blobs in one answer to PULL.
pub const MAX_PULL_BLOBS: u32 = 1_000;
/// Payload bytes in one answer to PULL. The answer stops before the blob that would pass it, but always has one.
pub const MAX_PULL_BYTES: usize = MAX_FRAME - 64 * 1024;

/// PUSH frames that a device keeps unanswered on one session.
pub const MAX_PUSHES_IN_FLIGHT: usize = 256;
/// Payload bytes of those.
pub const MAX_PUSH_BYTES_IN_FLIGHT: usize = 4 * 1024 * 1024;
/// Payload bytes that a device lets a relay queue for it (`window` of SUBSCRIBE).
pub const SUBSCRIBE_WINDOW: u32 = 1024 * 1024;
/// Blobs that a device collects before it writes them in one transaction.
pub const MAX_WRITE_BLOBS: usize = 1_024;
/// Received bytes, not yet durable, at which a device stops reading from the relay.
pub const MAX_UNWRITTEN_BYTES: usize = 4 * 1024 * 1024;
/// Payload bytes of one group that wait in memory to be sent; the rest is read back from the store.
pub const MAX_OUTBOX_CACHE: usize = 4 * 1024 * 1024;
/// Positions of the log that a device looks through at a time for what is to be erased.
pub const SEARCH_WINDOW: u64 = 500;
/// Log records in one page of a repair.
pub const REPAIR_PAGE: usize = 500;

/// Longest sealed invite.
pub const MAX_INVITE: usize = 8 * 1024;
/// Longest name of a device.
pub const MAX_DEVICE_NAME: usize = 128;
/// Longest relay URL in an invite link, so that the link fits a QR code that phones read well.
pub const MAX_RELAY_URL: usize = 256;
/// How long an invite can be claimed.
pub const INVITE_TTL: Duration = Duration::from_secs(600);
/// Longest app id of a passphrase group.
pub const MAX_APP_ID: usize = 64;
/// Longest name of a passphrase group.
pub const MAX_GROUP_NAME: usize = 128;
/// Longest passphrase.
pub const MAX_PASSPHRASE: usize = 1024;
/// Estimated strength that the passphrase of a new group has at least, in bits.
pub const MIN_PASSPHRASE_BITS: f64 = 60.0;
/// UTF-16 code units that such a passphrase has at least: the estimate gives none more than a factor of ten.
pub const MIN_PASSPHRASE_LEN: usize = 19;
/// Groups that one device may hold.
pub const MAX_GROUPS: usize = 1_024;
/// Ranges of sequences above the contiguous one that a device remembers per sender; with more, the lowest hole counts as seen.
pub const MAX_SEQUENCE_RANGES: usize = 1_024;

/// A HELLO that is not complete by then ends the stream.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A WELCOME that has not arrived by then ends the connection.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// Dialling a relay gives up after this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Dialling one of several nodes of a relay gives up after this, and the next one is tried.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes of a relay that are tried.
pub const MAX_NODES: usize = 16;
/// First and longest wait between attempts to reach a relay.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// At most this is added to every wait, so that devices do not come back all at once.
pub const BACKOFF_JITTER: Duration = Duration::from_secs(5);
/// First and longest wait after which a device that uses a later relay of its list looks whether the first is back. Short
/// enough that devices soon meet, long enough to cost nothing.
pub const RELAY_LOOK: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));
/// At most this is added to every such wait, so that devices do not all come to a relay that has just started.
pub const RELAY_LOOK_JITTER: Duration = Duration::from_secs(60);
/// Longest wait that a relay can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// ACKs are sent at most this often.
pub const ACK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a relay keeps blobs by default.
pub const DEFAULT_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest time to live that a device can ask for.
pub const MAX_TTL: Duration = Duration::from_secs(3650 * 24 * 3600);
