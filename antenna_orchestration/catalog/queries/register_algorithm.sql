-- Known by key and version. If they are registered with other labels, those are returned, for the caller to refuse.
INSERT INTO algorithms (key, version, name, task, description, uri, labels, labels_sha256)
VALUES (%(key)s, %(version)s, %(name)s, %(task)s, %(description)s, %(uri)s, %(labels)s, %(labels_sha256)s)
ON CONFLICT (key, version) DO UPDATE SET key = excluded.key
RETURNING algorithm_id, labels_sha256
