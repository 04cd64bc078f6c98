-- The chain of certificates by which a group has changed its keys. The member list is sealed; only the newest is kept.
CREATE TABLE rotations (
    group_ref   BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    revoked     BYTEA CHECK (octet_length(revoked) = 32),
    certificate BYTEA NOT NULL,
    members     BYTEA,
    PRIMARY KEY (group_ref, epoch)
);
CREATE INDEX rotations_by_revoked ON rotations (group_ref, revoked);

-- The newest epoch's secret for each member, sealed to it.
CREATE TABLE key_packets (
    group_ref BIGINT NOT NULL,
    device_id BYTEA NOT NULL CHECK (octet_length(device_id) = 32),
    epoch     BIGINT NOT NULL,
    packet    BYTEA NOT NULL,
    PRIMARY KEY (group_ref, device_id)
);
