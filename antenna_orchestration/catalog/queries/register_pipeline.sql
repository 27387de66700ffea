-- What is public stays so.
INSERT INTO pipelines (slug, name, version, description, default_config, is_public, owner_id)
VALUES (%(slug)s, %(name)s, %(version)s, %(description)s, %(default_config)s, %(is_public)s, %(owner)s)
ON CONFLICT (slug) DO UPDATE
SET name = excluded.name, version = excluded.version, description = excluded.description,
    default_config = excluded.default_config, is_public = pipelines.is_public OR excluded.is_public,
    owner_id = excluded.owner_id
WHERE (pipelines.name, pipelines.version, pipelines.description, pipelines.default_config, pipelines.owner_id)
    IS DISTINCT FROM
      (excluded.name, excluded.version, excluded.description, excluded.default_config, excluded.owner_id)
   OR excluded.is_public AND NOT pipelines.is_public
