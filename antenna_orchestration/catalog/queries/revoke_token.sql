-- Tokens are named by their fingerprint, which is shown, and never by the token itself, which is a secret.
UPDATE tokens SET revoked_at = coalesce(revoked_at, now()), revoked_by = CASE WHEN revoked_at IS NULL THEN %(by)s ELSE revoked_by END
WHERE fingerprint = %(fingerprint)s
RETURNING token_id
