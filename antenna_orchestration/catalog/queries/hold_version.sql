-- What a version of a pipeline is, which nobody changes before this transaction is over: those that read it with this
-- statement go on side by side, and the one that would change it waits for them (lock_version).
SELECT digest FROM pipeline_digests WHERE slug = %(slug)s AND version = %(version)s FOR SHARE
