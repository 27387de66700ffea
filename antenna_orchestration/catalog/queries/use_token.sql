UPDATE tokens SET last_used_at = now()
WHERE token_id = %(token)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
