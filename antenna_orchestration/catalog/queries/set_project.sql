-- Nulls leave a column as it is; `no_image_root` empties that one.
UPDATE projects
SET dispatch_mode = coalesce(%(dispatch_mode)s, dispatch_mode),
    pulls_pipelines = coalesce(%(pulls_pipelines)s, pulls_pipelines),
    image_root = CASE WHEN %(no_image_root)s THEN NULL ELSE coalesce(%(image_root)s, image_root) END
WHERE slug = %(slug)s
RETURNING project_id
