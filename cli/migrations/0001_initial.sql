-- The device's secret key: one row, once there is one.
CREATE TABLE device (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;

CREATE TABLE groups (
    id       INTEGER PRIMARY KEY,
    group_id BLOB NOT NULL UNIQUE CHECK (length(group_id) = 32),
    state    BLOB NOT NULL
) STRICT;

-- Records as they were appended. The record is the last column, so that lengths are summed without touching its pages.
CREATE TABLE log (
    id        INTEGER PRIMARY KEY,
    group_ref INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    length    INTEGER NOT NULL,
    record    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_by_position ON log (group_ref, position);

-- What waits to be sent, and what a relay said of what was. Beside the log, so that neither rewrites a record of up to
-- a mebibyte.
CREATE TABLE unsent (
    group_ref INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    length    INTEGER NOT NULL,
    PRIMARY KEY (group_ref, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE sent (
    group_ref INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    cursor    INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (group_ref, position)
) STRICT, WITHOUT ROWID;
