-- Of each project with finished jobs a text that changes when its season does: its final jobs with their generations, and
-- what people said of it. Jobs under way count, so that a season waits for them a little. A project whose jobs with
-- results were all deleted has a mark, too: its season is to lose its nights.
SELECT p.slug AS project, count(*) FILTER (WHERE j.status <> ALL (%(terminal)s)) AS under_way,
       count(*) FILTER (WHERE g.compacted_at IS NOT NULL AND j.status = ANY (%(terminal)s)) AS finished,
       -- Since a day ago; the results of one that waits for longer are missed.
       count(*) FILTER (
           WHERE j.generation > 1 AND j.status <> ALL (%(terminal)s)
             AND EXISTS (SELECT FROM job_log l WHERE l.job_id = j.job_id AND l.action = 'retried'
                           AND l.at > now() - interval '1 day')
       ) AS retrying,
       md5(concat_ws('|',
           string_agg(j.job_id || ':' || j.generation, ',' ORDER BY j.job_id)
               FILTER (WHERE g.compacted_at IS NOT NULL AND j.status = ANY (%(terminal)s)),
           p.recipe, p.species_list,
           (SELECT max(review_id) FROM reviews r WHERE r.project_id = p.project_id),
           (SELECT count(*) || ' ' || max(imported_at) FROM taxa t WHERE t.project_id = p.project_id),
           (SELECT count(*) || ' ' || max(imported_at) FROM species_lists l WHERE l.project_id = p.project_id),
           (SELECT md5(string_agg(d::text, ',' ORDER BY d.deployment_id)) FROM deployments d
            WHERE d.project_id = p.project_id),
           (SELECT string_agg(s.shift_id || ' ' || (s.undone_at IS NULL), ',' ORDER BY s.shift_id)
            FROM clock_shifts s JOIN deployments d USING (deployment_id) WHERE d.project_id = p.project_id)
       )) AS mark
FROM projects p
LEFT JOIN jobs j USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE %(project)s::text IS NULL OR p.slug = %(project)s
GROUP BY p.project_id
HAVING bool_or(g.compacted_at IS NOT NULL AND j.status = ANY (%(terminal)s))
    OR EXISTS (SELECT FROM deletions x WHERE x.project_id = p.project_id)
       AND NOT EXISTS (SELECT FROM jobs o JOIN job_generations h USING (job_id)
                       WHERE o.project_id = p.project_id AND h.compacted_at IS NOT NULL)
ORDER BY p.slug
