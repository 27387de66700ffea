INSERT INTO sources (project_id, deployment_id, uri, pattern, pipeline, config, settle_seconds, every_seconds, cron,
                     created_by)
SELECT %(project)s, deployment_id, %(uri)s, %(pattern)s, %(pipeline)s, %(config)s, %(settle)s, %(every)s, %(cron)s,
       %(created_by)s
FROM deployments WHERE project_id = %(project)s AND name = %(deployment)s
RETURNING source_id
