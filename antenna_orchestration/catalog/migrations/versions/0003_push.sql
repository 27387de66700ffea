-- Who comes for a job's tasks: workers lease them, or a push worker posts them to a processing service.
ALTER TABLE projects ADD COLUMN dispatch_mode text NOT NULL DEFAULT 'async_api'
    CHECK (dispatch_mode IN ('async_api', 'sync_api'));
ALTER TABLE jobs ADD COLUMN dispatch_mode text NOT NULL DEFAULT 'async_api'
    CHECK (dispatch_mode IN ('async_api', 'sync_api'));

ALTER TABLE workers DROP CONSTRAINT workers_kind_check;
ALTER TABLE workers ADD CONSTRAINT workers_kind_check CHECK (kind IN ('nats', 'http', 'push'));
