-- What people say of a project as a data set, as they wrote it (YAML): who made it, under which licences. Null: nothing.
ALTER TABLE projects ADD COLUMN dataset text, ADD COLUMN dataset_by text, ADD COLUMN dataset_at timestamptz;
