-- The chain of certificates by which a group has changed its keys. The member list is sealed; only the newest is kept.
CREATE TABLE rotations (
    group_ref   INTEGER NOT NULL REFERENCES groups (id),
    epoch       INTEGER NOT NULL,
    revoked     BLOB CHECK (length(revoked) = 32),
    certificate BLOB NOT NULL,
    members     BLOB,
    PRIMARY KEY (group_ref, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX rotations_by_revoked ON rotations (group_ref, revoked) WHERE revoked IS NOT NULL;

-- The newest epoch's secret for each member, sealed to it.
CREATE TABLE key_packets (
    group_ref INTEGER NOT NULL REFERENCES groups (id),
    device_id BLOB NOT NULL CHECK (length(device_id) = 32),
    epoch     INTEGER NOT NULL,
    packet    BLOB NOT NULL,
    PRIMARY KEY (group_ref, device_id)
) STRICT, WITHOUT ROWID;
