-- The pipeline's version when the job was submitted. Null for jobs from before: nobody wrote it down.
ALTER TABLE jobs ADD COLUMN pipeline_version text;

-- The time zone at whose noon the job's nights are cut. Jobs from before were cut at noon UTC.
ALTER TABLE jobs ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC';
