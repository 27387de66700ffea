-- The names that a deployment had before, oldest first: objects of name, by, at. Tables of jobs from before have them.
ALTER TABLE deployments ADD COLUMN former_names jsonb NOT NULL DEFAULT '[]';
