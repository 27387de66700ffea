-- The source stays until the transaction ends, unless it was removed or paused.
SELECT source_id FROM sources WHERE source_id = %(source)s AND paused_at IS NULL FOR KEY SHARE
