UPDATE sources SET refusals = 0, refusal = '' WHERE source_id = %(source)s AND refusals > 0
