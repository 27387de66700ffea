UPDATE sources SET refusals = refusals + 1, refusal = %(refusal)s, submit_at = now() + %(pause)s * interval '1 s'
WHERE source_id = %(source)s
