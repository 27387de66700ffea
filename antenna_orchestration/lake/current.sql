-- What is known now: the newest finished result of each image and pipeline, as views for DuckDB.
--
--     all_captures, all_detections, all_classifications   every row of every finished job
--     current_captures          one row per image and pipeline, with `status`; `failed` only if it was never done
--     current_detections        one row per detection in these: one sighting of an insect on one photograph
--     current_classifications   one row per statement about one of these
--     current_found             one row per detection, with its best label and what is known of its image
--
-- Read the file into a connection; see docs/howto/read-results.md. It is written anew when a job ends. If the lake was
-- moved or is mounted elsewhere, or to read its merged tables, say where first: SET VARIABLE lake = '/mnt/lake/merged';

SET VARIABLE lake = coalesce(getvariable('lake'), '{lake}');

-- The second half of each gives the columns that files of earlier versions lack.
CREATE OR REPLACE VIEW all_captures AS
SELECT * FROM read_parquet(getvariable('lake') || '/captures/**/*.parquet', hive_partitioning = true, union_by_name = true)
UNION ALL BY NAME
SELECT NULL::VARCHAR AS project, NULL::VARCHAR AS job_name, NULL::VARCHAR AS pipeline,
       NULL::VARCHAR AS pipeline_version, NULL::TIMESTAMPTZ AS finished_at, NULL::DATE AS night, NULL::FLOAT AS seconds,
       NULL::TIMESTAMP AS stamp, NULL::SMALLINT AS stamp_offset
WHERE false;

CREATE OR REPLACE VIEW all_detections AS
SELECT * FROM read_parquet(getvariable('lake') || '/detections/**/*.parquet', hive_partitioning = true, union_by_name = true)
UNION ALL BY NAME
SELECT NULL::VARCHAR AS project, NULL::VARCHAR AS job_name, NULL::VARCHAR AS pipeline,
       NULL::VARCHAR AS pipeline_version, NULL::FLOAT AS inference_time
WHERE false;

CREATE OR REPLACE VIEW all_classifications AS
SELECT * FROM read_parquet(getvariable('lake') || '/classifications/**/*.parquet', hive_partitioning = true, union_by_name = true)
UNION ALL BY NAME
SELECT NULL::VARCHAR AS project, NULL::VARCHAR AS job_name, NULL::VARCHAR AS pipeline,
       NULL::VARCHAR AS pipeline_version, NULL::FLOAT AS inference_time
WHERE false;

-- Done beats failed, then the later wins. A job of an earlier version does not name its pipeline, so its result of an
-- image shows only as long as there is no other of it.
CREATE OR REPLACE VIEW current_captures AS
WITH newest AS (
    SELECT * FROM all_captures
    QUALIFY row_number() OVER (
        PARTITION BY image_id, pipeline ORDER BY status = 'done' DESC, finished_at DESC NULLS LAST, job_id DESC
    ) = 1
)
SELECT * FROM newest
QUALIFY pipeline IS NOT NULL
    OR count(pipeline) FILTER (WHERE status = 'done') OVER (PARTITION BY image_id) = 0
   AND (status = 'done' OR count(pipeline) OVER (PARTITION BY image_id) = 0);

CREATE OR REPLACE VIEW current_detections AS
SELECT d.* FROM all_detections d SEMI JOIN current_captures c USING (job_id, image_id);

CREATE OR REPLACE VIEW current_classifications AS
SELECT s.* FROM all_classifications s SEMI JOIN current_captures c USING (job_id, image_id);

-- The last step of a pipeline decides, and where it did not come so far, the step before.
CREATE OR REPLACE VIEW current_found AS
SELECT d.*, s.label, s.score AS label_score, s.terminal, s.algorithm AS label_algorithm,
       s.algorithm_version AS label_algorithm_version, c.url, c.deployment, c.captured_at, c.night,
       c.stamp, c.stamp_offset
FROM current_detections d
JOIN current_captures c USING (job_id, image_id)
LEFT JOIN (
    SELECT * FROM current_classifications
    QUALIFY row_number() OVER (
        PARTITION BY job_id, detection_id ORDER BY terminal DESC, created_at DESC, score DESC NULLS LAST
    ) = 1
) s USING (job_id, detection_id);
