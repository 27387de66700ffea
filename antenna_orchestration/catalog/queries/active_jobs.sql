-- The jobs under way of a deployment (by number or name) or a submitter. Null filters match everything.
SELECT j.job_id
FROM jobs j
WHERE j.status IN ('QUEUED', 'CLAIMED', 'RUNNING')
  AND (%(deployment)s::text IS NULL OR EXISTS (
          SELECT 1 FROM deployments d
          WHERE d.deployment_id = ANY (j.deployments) AND %(deployment)s IN (d.name, d.deployment_id::text)))
  AND (%(created_by)s::text IS NULL OR j.created_by = %(created_by)s)
