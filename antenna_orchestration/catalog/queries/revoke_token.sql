-- Named by its fingerprint, which is shown; never by the token, which is a secret.
UPDATE tokens SET revoked_at = coalesce(revoked_at, now()) WHERE fingerprint = %(fingerprint)s RETURNING token_id
