SELECT a.key, a.version, a.labels, a.categories
FROM algorithms a
JOIN unnest(%(keys)s::text[], %(versions)s::text[]) AS asked (key, version) USING (key, version)
WHERE jsonb_array_length(a.labels) > 0
