-- Invites that their creator confirms, and no count of wrong tokens any more: it let whoever had seen a part of an invite
-- end it. Invites live for minutes, so none is carried over.
DROP TABLE invites;
-- state: 0 open, 1 claimed, 2 cancelled. What is sealed goes at expires_at, the row (a tombstone by then) at forget_at.
CREATE TABLE invites (
    lookup       BYTEA PRIMARY KEY CHECK (octet_length(lookup) = 16),
    claim_hash   BYTEA NOT NULL CHECK (octet_length(claim_hash) = 32),
    owner_hash   BYTEA NOT NULL CHECK (octet_length(owner_hash) = 32),
    offer        BYTEA NOT NULL,
    secrets      BYTEA NOT NULL,
    request      BYTEA NOT NULL,
    reply        BYTEA NOT NULL,
    state        BIGINT NOT NULL,
    claimant     BYTEA,
    expires_at   BIGINT NOT NULL,
    forget_at    BIGINT NOT NULL
);
CREATE INDEX invites_by_expiry ON invites (expires_at);
CREATE INDEX invites_by_forget_at ON invites (forget_at);
