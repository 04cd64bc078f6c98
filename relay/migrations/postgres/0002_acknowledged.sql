-- What every active device has acknowledged may go before its time: its payload is dropped, while id, cursor and
-- timestamp stay until it expires, so that devices see that the relay deleted it and did not lose it. All blobs of a
-- group up to this cursor are such.
ALTER TABLE groups ADD COLUMN dropped_to BIGINT NOT NULL DEFAULT 0;
