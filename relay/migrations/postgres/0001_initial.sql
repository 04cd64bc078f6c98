-- One row: which life of the database this is. Devices notice a new one and send again what was lost. The first node puts
-- it there, with random bytes of its own.
CREATE TABLE meta (
    id          SMALLINT PRIMARY KEY CHECK (id = 1),
    incarnation BYTEA NOT NULL CHECK (octet_length(incarnation) = 16),
    -- Where a node that could not write tries whether it can again.
    checked_at  BIGINT NOT NULL DEFAULT 0
);

-- Whoever stores blobs holds the lock of the group's row until its commit. So cursors have no holes, and whoever sees one
-- sees all before it, whichever nodes they came through.
CREATE TABLE groups (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id   BYTEA NOT NULL UNIQUE CHECK (octet_length(group_id) = 32),
    access_pub BYTEA NOT NULL CHECK (octet_length(access_pub) = 32),
    epoch      BIGINT NOT NULL,
    max_cursor BIGINT NOT NULL DEFAULT 0,
    bytes_used BIGINT NOT NULL DEFAULT 0,
    blob_count BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

-- No foreign key: the group's row is locked by every transaction that adds blobs to it, so a check for each would find
-- nothing and cost a look-up.
CREATE TABLE blobs (
    group_ref  BIGINT NOT NULL,
    cursor     BIGINT NOT NULL,
    blob_id    BYTEA NOT NULL CHECK (octet_length(blob_id) = 16),
    sender     BYTEA NOT NULL CHECK (octet_length(sender) = 32),
    epoch      BIGINT NOT NULL,
    timestamp  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    size       INTEGER NOT NULL,
    payload    BYTEA NOT NULL,
    PRIMARY KEY (group_ref, cursor)
);
CREATE UNIQUE INDEX blobs_by_id ON blobs (group_ref, blob_id);
CREATE INDEX blobs_by_expiry ON blobs (expires_at);

CREATE TABLE devices (
    group_ref BIGINT NOT NULL,
    device_id BYTEA NOT NULL CHECK (octet_length(device_id) = 32),
    acked     BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (group_ref, device_id)
);

-- state: 0 open, 1 claimed, 2 cancelled. What is sealed goes at expires_at, the row (a tombstone by then) at forget_at.
CREATE TABLE invites (
    lookup       BYTEA PRIMARY KEY CHECK (octet_length(lookup) = 16),
    claim_hash   BYTEA NOT NULL CHECK (octet_length(claim_hash) = 32),
    offer        BYTEA NOT NULL,
    secrets      BYTEA NOT NULL,
    state        BIGINT NOT NULL,
    claimant     BYTEA,
    wrong_tokens BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    forget_at    BIGINT NOT NULL
);
CREATE INDEX invites_by_expiry ON invites (expires_at);
CREATE INDEX invites_by_forget_at ON invites (forget_at);

-- The relays that share this database. One that has not said for a while that it lives counts as gone.
CREATE TABLE nodes (
    endpoint_id BYTEA PRIMARY KEY CHECK (octet_length(endpoint_id) = 32),
    relay_url   TEXT NOT NULL,
    udp_addrs   TEXT[] NOT NULL,
    heartbeat   BIGINT NOT NULL
);
