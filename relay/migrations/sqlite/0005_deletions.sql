-- Blobs that a member has deleted and that some active device has yet to acknowledge: their payloads go after that.
CREATE TABLE deletions (
    group_ref INTEGER NOT NULL REFERENCES groups (id),
    cursor    INTEGER NOT NULL,
    PRIMARY KEY (group_ref, cursor)
) STRICT, WITHOUT ROWID;
