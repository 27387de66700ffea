-- What is public stays so.
INSERT INTO pipelines (slug, name, version, description, default_config, is_public, owner_id, takes_detections)
VALUES (%(slug)s, %(name)s, %(version)s, %(description)s, %(default_config)s, %(is_public)s, %(owner)s,
        %(takes_detections)s)
ON CONFLICT (slug) DO UPDATE
SET name = excluded.name, version = excluded.version, description = excluded.description,
    default_config = excluded.default_config, is_public = pipelines.is_public OR excluded.is_public,
    owner_id = excluded.owner_id, takes_detections = excluded.takes_detections
WHERE (pipelines.name, pipelines.version, pipelines.description, pipelines.default_config, pipelines.owner_id,
       pipelines.takes_detections)
    IS DISTINCT FROM
      (excluded.name, excluded.version, excluded.description, excluded.default_config, excluded.owner_id,
       excluded.takes_detections)
   OR excluded.is_public AND NOT pipelines.is_public
