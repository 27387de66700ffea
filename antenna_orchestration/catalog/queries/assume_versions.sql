-- What is submitted with an unknown version is taken for the newest capture of its URL.
UPDATE submitted s SET version = k.version
FROM (
    SELECT DISTINCT ON (c.url) c.url, c.version
    FROM submitted n JOIN captures c ON c.project_id = %(project)s AND c.url = n.url
    WHERE n.version = ''
    ORDER BY c.url, c.image_id DESC
) k
WHERE s.url = k.url AND s.version = ''
