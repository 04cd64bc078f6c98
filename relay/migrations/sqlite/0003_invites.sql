-- Invites that their creator confirms, and no count of wrong tokens any more: it let whoever had seen a part of an invite
-- end it. Invites live for minutes, so none is carried over.
DROP TABLE invites;
-- state: 0 open, 1 claimed, 2 cancelled. What is sealed goes at expires_at, the row (a tombstone by then) at forget_at.
CREATE TABLE invites (
    lookup       BLOB PRIMARY KEY CHECK (length(lookup) = 16),
    claim_hash   BLOB NOT NULL CHECK (length(claim_hash) = 32),
    owner_hash   BLOB NOT NULL CHECK (length(owner_hash) = 32),
    offer        BLOB NOT NULL,
    secrets      BLOB NOT NULL,
    request      BLOB NOT NULL,
    reply        BLOB NOT NULL,
    state        INTEGER NOT NULL,
    claimant     BLOB,
    expires_at   INTEGER NOT NULL,
    forget_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX invites_by_forget_at ON invites (forget_at);
