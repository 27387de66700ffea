-- How many files of a source are in each state: counting them takes seconds per million, and old ones only become more.
CREATE TABLE source_counts (
    source_id bigint NOT NULL,
    state text NOT NULL,
    files bigint NOT NULL,
    PRIMARY KEY (source_id, state)
);

-- Keeps them, in the transaction that changes files. It locks a source's counts, so whoever changes files twice in a
-- transaction could wait for another one that waits for it.
CREATE FUNCTION count_source_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO source_counts AS c (source_id, state, files)
        SELECT source_id, state, count(*) FROM came GROUP BY source_id, state ORDER BY source_id, state
        ON CONFLICT (source_id, state) DO UPDATE SET files = c.files + excluded.files;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO source_counts AS c (source_id, state, files)
        SELECT source_id, state, sum(files)
        FROM (SELECT source_id, state, 1 AS files FROM came UNION ALL SELECT source_id, state, -1 FROM went) changed
        GROUP BY source_id, state HAVING sum(files) <> 0 ORDER BY source_id, state
        ON CONFLICT (source_id, state) DO UPDATE SET files = c.files + excluded.files;
    ELSE
        UPDATE source_counts c SET files = c.files - w.files
        FROM (SELECT source_id, state, count(*) AS files FROM went GROUP BY source_id, state) w
        WHERE c.source_id = w.source_id AND c.state = w.state;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER source_files_come AFTER INSERT ON source_files REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION count_source_files();
CREATE TRIGGER source_files_change AFTER UPDATE ON source_files REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION count_source_files();
CREATE TRIGGER source_files_go AFTER DELETE ON source_files REFERENCING OLD TABLE AS went
    FOR EACH STATEMENT EXECUTE FUNCTION count_source_files();

INSERT INTO source_counts (source_id, state, files)
SELECT source_id, state, count(*) FROM source_files GROUP BY source_id, state;
