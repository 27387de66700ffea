-- What a version of a pipeline is.
SELECT digest FROM pipeline_digests WHERE slug = %(slug)s AND version = %(version)s
