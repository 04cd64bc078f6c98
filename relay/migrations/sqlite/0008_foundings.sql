-- A group that nobody uses is forgotten, and may be founded anew: its cursors begin again then, and this tells devices
-- that it is another one. Zero for those that were founded before.
ALTER TABLE groups ADD COLUMN founding BLOB NOT NULL DEFAULT x'00000000000000000000000000000000'
    CHECK (length(founding) = 16);
-- When it was last opened, or somewhat before.
ALTER TABLE groups ADD COLUMN opened_at INTEGER NOT NULL DEFAULT 0;
UPDATE groups SET opened_at = created_at;
