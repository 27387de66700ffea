-- Whether jobs of a project may have workers fetch its pipelines' code from the lake's store (`antenna worker --pull`).
ALTER TABLE projects ADD COLUMN pulls_pipelines boolean NOT NULL DEFAULT false;
