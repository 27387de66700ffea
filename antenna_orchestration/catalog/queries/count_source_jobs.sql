SELECT count(*) AS jobs FROM source_jobs WHERE source_id = %(source)s AND night IS NOT DISTINCT FROM %(night)s::date
