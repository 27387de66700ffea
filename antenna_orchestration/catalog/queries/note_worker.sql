INSERT INTO workers (name, kind, host, details, token_id)
VALUES (%(name)s, %(kind)s, %(host)s, %(details)s, %(token)s)
ON CONFLICT (name) DO UPDATE
SET host = excluded.host, details = workers.details || excluded.details, last_seen = now()
RETURNING worker_id
