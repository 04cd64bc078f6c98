-- Rows of blobs, also of those whose payload is gone: each takes up room until it expires, so the quota counts it.
ALTER TABLE groups ADD COLUMN row_count INTEGER NOT NULL DEFAULT 0;
UPDATE groups SET row_count = (SELECT count(*) FROM blobs WHERE group_ref = groups.id);
