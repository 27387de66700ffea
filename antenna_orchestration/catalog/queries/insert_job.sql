INSERT INTO jobs (project_id, name, pipeline, config, config_hash, priority, interactive, total, skipped, duplicates,
                  source_kinds)
SELECT %(project)s, %(name)s, %(pipeline)s, %(config)s, %(config_hash)s, %(priority)s, %(interactive)s,
       (SELECT count(*) FROM selected), (SELECT count(*) FROM submitted) - (SELECT count(*) FROM selected),
       %(duplicates)s, %(source_kinds)s
RETURNING job_id
