-- Tokens that only read how much waits, for whatever starts workers from outside.
ALTER TABLE tokens DROP CONSTRAINT tokens_role_check;
ALTER TABLE tokens ADD CONSTRAINT tokens_role_check CHECK (role IN ('worker', 'submitter', 'admin', 'monitor'));
