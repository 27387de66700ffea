UPDATE sources SET quiet_upto = %(quiet_upto)s, listed_upto = %(listed_upto)s, swept_upto = %(swept_upto)s
WHERE source_id = %(source)s
