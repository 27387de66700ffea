-- Jobs of one image each once made PostgreSQL believe that any job has one, and choose an index that finds all of a job's
-- images for each that is looked up. The statistics say from now on: a thousand images a job.
ALTER TABLE job_images ALTER COLUMN job_id SET (n_distinct = -0.001);
