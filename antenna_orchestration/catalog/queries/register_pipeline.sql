-- What is public stays so.
INSERT INTO pipelines (slug, name, version, description, default_config, is_public)
VALUES (%(slug)s, %(name)s, %(version)s, %(description)s, %(default_config)s, %(is_public)s)
ON CONFLICT (slug) DO UPDATE
SET name = excluded.name, version = excluded.version, description = excluded.description,
    default_config = excluded.default_config, is_public = pipelines.is_public OR excluded.is_public
WHERE (pipelines.name, pipelines.version, pipelines.description, pipelines.default_config)
    IS DISTINCT FROM (excluded.name, excluded.version, excluded.description, excluded.default_config)
   OR excluded.is_public AND NOT pipelines.is_public
