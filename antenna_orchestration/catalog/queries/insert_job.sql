INSERT INTO jobs (project_id, name, pipeline, config, config_hash, priority, interactive, total, skipped, duplicates,
                  source_kinds, dispatch_mode, created_by, deployments, is_frozen, pipeline_version, time_zone,
                  detections_of, due_at)
SELECT %(project)s, %(name)s, %(pipeline)s, %(config)s, %(config_hash)s, %(priority)s, %(interactive)s,
       (SELECT count(*) FROM selected), (SELECT count(*) FROM submitted) - (SELECT count(*) FROM selected),
       %(duplicates)s, %(source_kinds)s,
       coalesce(%(dispatch_mode)s, (SELECT dispatch_mode FROM projects WHERE project_id = %(project)s)),
       %(created_by)s,
       ARRAY (SELECT DISTINCT deployment_id FROM selected WHERE deployment_id IS NOT NULL ORDER BY 1), true,
       %(version)s, %(time_zone)s, %(detections_of)s, %(due_at)s
RETURNING job_id, total, skipped
