-- Known by key and version. If they are registered with other labels, those are returned, for the caller to refuse.
-- New categories of the same labels replace the old ones, unless a pipeline of another owner has the algorithm as well;
-- who sends none changes nothing.
INSERT INTO algorithms AS a (key, version, name, task, description, uri, labels, labels_sha256, categories)
VALUES (%(key)s, %(version)s, %(name)s, %(task)s, %(description)s, %(uri)s, %(labels)s, %(labels_sha256)s,
        %(categories)s)
ON CONFLICT (key, version) DO UPDATE SET categories = CASE
    WHEN excluded.categories = '[]' OR excluded.labels_sha256 <> a.labels_sha256 OR EXISTS (
        SELECT FROM pipeline_algorithms l JOIN pipelines p USING (slug)
        WHERE l.algorithm_id = a.algorithm_id AND p.owner_id IS DISTINCT FROM %(owner)s
    ) THEN a.categories
    ELSE excluded.categories
END
RETURNING algorithm_id, labels_sha256
