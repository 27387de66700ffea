-- All rows of a job, and that it was deleted. Its photographs stay, and so does that its watched source has had them:
-- they are not submitted again by themselves.
WITH reviews AS (DELETE FROM reviews WHERE job_id = %(job)s RETURNING 1),
     images AS (DELETE FROM job_images WHERE job_id = %(job)s RETURNING 1),
     log AS (DELETE FROM job_log WHERE job_id = %(job)s RETURNING 1),
     of_source AS (DELETE FROM source_jobs WHERE job_id = %(job)s),
     -- Its generations and collectors go with it.
     job AS (DELETE FROM jobs WHERE job_id = %(job)s RETURNING *),
     noted AS (
         INSERT INTO deletions (job_id, project_id, name, pipeline, generation, total, deleted_by)
         SELECT job_id, project_id, name, pipeline, generation, total, %(by)s FROM job
     )
SELECT (SELECT count(*) FROM reviews) AS reviews, (SELECT count(*) FROM images) AS images,
       (SELECT count(*) FROM log) AS log_lines
