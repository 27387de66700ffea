SELECT event, project, count(*) AS alerts FROM alerts WHERE ended_at IS NULL AND told_at IS NOT NULL GROUP BY event, project
