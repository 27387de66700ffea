-- How many photographs were chosen, by deployment and night.
SELECT deployment, night, count(*) AS photographs
FROM chosen WHERE stage = %(stage)s
GROUP BY deployment, night
ORDER BY deployment NULLS LAST, night NULLS LAST
