-- Snapshots: one that is complete for each group, and those that are on their way. A part is nonce and ciphertext.
CREATE TABLE snapshots (
    id          INTEGER PRIMARY KEY,
    group_ref   INTEGER NOT NULL REFERENCES groups (id),
    snapshot_id BLOB NOT NULL CHECK (length(snapshot_id) = 16),
    author      BLOB NOT NULL CHECK (length(author) = 32),
    epoch       INTEGER NOT NULL,
    covers      INTEGER NOT NULL,
    parts       INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    complete    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX snapshots_of_group ON snapshots (group_ref) WHERE complete = 1;
CREATE INDEX snapshots_by_group ON snapshots (group_ref);
CREATE INDEX snapshots_by_age ON snapshots (created_at);

CREATE TABLE snapshot_parts (
    snapshot_ref INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    part         INTEGER NOT NULL,
    payload      BLOB NOT NULL,
    PRIMARY KEY (snapshot_ref, part)
) STRICT;
