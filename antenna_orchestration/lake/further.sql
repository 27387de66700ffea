
-- Only some jobs have rows of {table}.
CREATE OR REPLACE VIEW all_{table} AS
SELECT * FROM read_parquet(getvariable('lake') || '/{table}/**/*.parquet', hive_partitioning = true, union_by_name = true);

CREATE OR REPLACE VIEW current_{table} AS
SELECT f.* FROM all_{table} f SEMI JOIN current_captures c USING (job_id, image_id);
