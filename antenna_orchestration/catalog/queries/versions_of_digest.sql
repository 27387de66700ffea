-- The versions of a pipeline that are the same, oldest first.
SELECT version FROM pipeline_digests WHERE slug = %(slug)s AND digest = %(digest)s ORDER BY registered_at, version
