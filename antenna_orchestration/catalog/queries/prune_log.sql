-- Delete old lines of jobs that are over; results are not touched.
WITH gone AS (
    DELETE FROM job_log l USING jobs j
    WHERE l.job_id = j.job_id AND l.at < %(before)s AND j.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
    RETURNING 1
)
SELECT count(*) AS lines FROM gone
