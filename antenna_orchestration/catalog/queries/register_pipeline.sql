INSERT INTO pipelines (slug, name, version, description, default_config)
VALUES (%(slug)s, %(name)s, %(version)s, %(description)s, %(default_config)s)
ON CONFLICT (slug) DO UPDATE
SET name = excluded.name, version = excluded.version, description = excluded.description,
    default_config = excluded.default_config
WHERE (pipelines.name, pipelines.version, pipelines.description, pipelines.default_config)
    IS DISTINCT FROM (excluded.name, excluded.version, excluded.description, excluded.default_config)
