-- Wait until no job of this version of a pipeline is being written (hold_version). A statement of its own, so that the
-- next one sees those that were.
SELECT digest FROM pipeline_digests WHERE slug = %(slug)s AND version = %(version)s FOR UPDATE
