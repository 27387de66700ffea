-- Alerts: what is wrong, what was told to whom, and which targets do not answer.
CREATE TABLE alerts (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What is wrong, for programs.
    key text NOT NULL,
    event text NOT NULL,
    -- Its slug; empty: of the whole installation. A project that is renamed or deleted changes no alert.
    project text NOT NULL DEFAULT '',
    subject text NOT NULL,
    text text NOT NULL,
    path text NOT NULL DEFAULT '',
    began_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- Null: it has not lasted long enough to be told.
    told_at timestamptz,
    reminded_at timestamptz,
    ended_at timestamptz
);
-- The key that lets one thing that is wrong be one alert, under any number of daemons.
CREATE UNIQUE INDEX alerts_open ON alerts (key) WHERE ended_at IS NULL;
CREATE INDEX alerts_key ON alerts (key);
CREATE INDEX alerts_ended ON alerts (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE alert_messages (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alerts ON DELETE CASCADE,
    target text NOT NULL,
    telling text NOT NULL CHECK (telling IN ('begins', 'lasts', 'ends')),
    made_at timestamptz NOT NULL DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    sent_at timestamptz,
    -- Given up: not sent for too long, or the alert ended before.
    dropped_at timestamptz
);
CREATE INDEX alert_messages_alert ON alert_messages (alert_id);
CREATE INDEX alert_messages_waiting ON alert_messages (target, message_id) WHERE sent_at IS NULL AND dropped_at IS NULL;

CREATE TABLE alert_targets (
    target text PRIMARY KEY,
    -- Failures in a row, what the last one said, since when, and when it is tried again.
    failures integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    failing_since timestamptz,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);

-- One row: since when, and when last, somebody looked for what is wrong.
CREATE TABLE alert_rounds (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    began_at timestamptz NOT NULL DEFAULT now(),
    looked_at timestamptz NOT NULL DEFAULT now()
);

-- Jobs that ended of late, which are looked for each half minute among all that there ever were.
CREATE INDEX jobs_ended ON jobs (finished_at) WHERE status IN ('SUCCESS', 'FAILURE', 'CANCELED');

-- The last tick of each of Dagster's sensors, for those who ask the gateway and not Dagster.
CREATE TABLE sensor_ticks (
    sensor text PRIMARY KEY,
    ticked_at timestamptz NOT NULL,
    seconds double precision NOT NULL,
    is_failed boolean NOT NULL
);
