-- What makes a device a member, and all that is secret of the group. It changes rarely, the state with every blob.
ALTER TABLE groups ADD COLUMN membership BLOB;
