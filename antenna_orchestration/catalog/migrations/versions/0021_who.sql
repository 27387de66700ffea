-- Who did it: a user of a host, a token's owner or a Dagster run. Empty: nobody did, or it is older than this.
ALTER TABLE job_log ADD COLUMN done_by text NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN created_by text NOT NULL DEFAULT '', ADD COLUMN revoked_by text NOT NULL DEFAULT '';

CREATE TABLE deployment_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id bigint NOT NULL REFERENCES deployments ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    done_by text NOT NULL,
    -- Names of what was changed, each with the value before and after it.
    changes jsonb NOT NULL
);
CREATE INDEX deployment_changes_of ON deployment_changes (deployment_id, change_id);
