-- Those of the tokens that are valid now.
SELECT token_id FROM tokens
WHERE token_id = ANY (%(tokens)s::bigint[]) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
