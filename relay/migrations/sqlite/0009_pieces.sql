-- A part of a snapshot in pieces, each stored by a transaction of its own: the pushes of others wait for one at a time.
ALTER TABLE snapshot_parts RENAME TO whole_parts;
CREATE TABLE snapshot_parts (
    snapshot_ref INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    part         INTEGER NOT NULL,
    piece        INTEGER NOT NULL,
    payload      BLOB NOT NULL,
    PRIMARY KEY (snapshot_ref, part, piece)
) STRICT;
INSERT INTO snapshot_parts SELECT snapshot_ref, part, 0, payload FROM whole_parts;
DROP TABLE whole_parts;
-- complete = 2: nobody wants it any more, and it goes piece by piece.
CREATE INDEX snapshots_unwanted ON snapshots (id) WHERE complete = 2;
