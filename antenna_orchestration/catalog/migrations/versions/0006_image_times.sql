-- When the worker of a result had got the image, and when it posted the result; null for those of before. Written with the
-- outcome, in the same statement.
ALTER TABLE job_images ADD COLUMN leased_at timestamptz, ADD COLUMN posted_at timestamptz;
