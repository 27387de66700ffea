INSERT INTO jobs (project_id, name, pipeline, config, config_hash, priority, interactive, total, skipped, duplicates,
                  source_kinds, dispatch_mode)
SELECT %(project)s, %(name)s, %(pipeline)s, %(config)s, %(config_hash)s, %(priority)s, %(interactive)s,
       (SELECT count(*) FROM selected), (SELECT count(*) FROM submitted) - (SELECT count(*) FROM selected),
       %(duplicates)s, %(source_kinds)s,
       coalesce(%(dispatch_mode)s, (SELECT dispatch_mode FROM projects WHERE project_id = %(project)s))
RETURNING job_id
