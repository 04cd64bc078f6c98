-- One row: which life of the database this is. Devices notice a new one and send again what was lost.
CREATE TABLE meta (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16)
) STRICT;
INSERT INTO meta (id, incarnation) VALUES (1, randomblob(16));

-- max_cursor and bytes_used change in the transaction that stores the blobs, so that cursors have no holes and the
-- quota needs no sum.
CREATE TABLE groups (
    id         INTEGER PRIMARY KEY,
    group_id   BLOB NOT NULL UNIQUE CHECK (length(group_id) = 32),
    access_pub BLOB NOT NULL CHECK (length(access_pub) = 32),
    epoch      INTEGER NOT NULL,
    max_cursor INTEGER NOT NULL DEFAULT 0,
    bytes_used INTEGER NOT NULL DEFAULT 0,
    blob_count INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

-- A rowid table: rows are appended in the order they come, whatever their group, and the indexes stay small.
-- The payload is the last column, so that everything else is read without touching its pages.
CREATE TABLE blobs (
    id         INTEGER PRIMARY KEY,
    group_ref  INTEGER NOT NULL REFERENCES groups (id),
    cursor     INTEGER NOT NULL,
    blob_id    BLOB NOT NULL CHECK (length(blob_id) = 16),
    sender     BLOB NOT NULL CHECK (length(sender) = 32),
    epoch      INTEGER NOT NULL,
    timestamp  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    payload    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX blobs_by_cursor ON blobs (group_ref, cursor);
CREATE UNIQUE INDEX blobs_by_id ON blobs (group_ref, blob_id);
CREATE INDEX blobs_by_expiry ON blobs (expires_at);

CREATE TABLE devices (
    group_ref INTEGER NOT NULL REFERENCES groups (id),
    device_id BLOB NOT NULL CHECK (length(device_id) = 32),
    acked     INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (group_ref, device_id)
) STRICT, WITHOUT ROWID;

-- state: 0 open, 1 claimed, 2 cancelled. What is sealed goes at expires_at, the row (a tombstone by then) at forget_at.
CREATE TABLE invites (
    lookup       BLOB PRIMARY KEY CHECK (length(lookup) = 16),
    claim_hash   BLOB NOT NULL CHECK (length(claim_hash) = 32),
    offer        BLOB NOT NULL,
    secrets      BLOB NOT NULL,
    state        INTEGER NOT NULL,
    claimant     BLOB,
    wrong_tokens INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    forget_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX invites_by_forget_at ON invites (forget_at);

-- Where a relay that could not write tries whether it can again.
CREATE TABLE probe (
    id     INTEGER PRIMARY KEY,
    filler BLOB NOT NULL
) STRICT;
