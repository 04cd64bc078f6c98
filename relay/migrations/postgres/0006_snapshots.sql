-- Snapshots: one that is complete for each group, and those that are on their way. A part is nonce and ciphertext.
CREATE TABLE snapshots (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_ref   BIGINT NOT NULL,
    snapshot_id BYTEA NOT NULL CHECK (octet_length(snapshot_id) = 16),
    author      BYTEA NOT NULL CHECK (octet_length(author) = 32),
    epoch       BIGINT NOT NULL,
    covers      BIGINT NOT NULL,
    parts       BIGINT NOT NULL,
    stored      BIGINT NOT NULL,
    size        BIGINT NOT NULL,
    complete    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX snapshots_by_group ON snapshots (group_ref, complete);
CREATE INDEX snapshots_by_age ON snapshots (created_at);

CREATE TABLE snapshot_parts (
    snapshot_ref BIGINT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    part         BIGINT NOT NULL,
    payload      BYTEA NOT NULL,
    PRIMARY KEY (snapshot_ref, part)
);
