-- Whether the collector left because there was nothing to collect: its job is launched again with the first result.
ALTER TABLE collectors ADD COLUMN awaits_results boolean NOT NULL DEFAULT false;
