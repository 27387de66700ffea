-- What is chosen, stage by stage: each takes from the one before. Much is sorted for it.
CREATE TEMPORARY TABLE chosen (
    stage smallint NOT NULL,
    image_id bigint NOT NULL,
    deployment text COLLATE "C",
    url text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    local_time timestamp,
    night date
) ON COMMIT DROP
