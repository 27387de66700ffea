-- What people say about deployments, names and detections, for the tables that are derived from results.

-- The place and the clock of a deployment. Null where nobody said.
ALTER TABLE deployments
    ADD COLUMN latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    ADD COLUMN longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    ADD COLUMN uncertainty_m double precision CHECK (uncertainty_m > 0),
    -- An IANA name or a fixed offset such as +01:00.
    ADD COLUMN time_zone text,
    -- What the stamps of its files are in.
    ADD COLUMN clock text NOT NULL DEFAULT 'local' CHECK (clock IN ('local', 'utc')),
    -- Local times.
    ADD COLUMN starts_at timestamp,
    ADD COLUMN ends_at timestamp,
    ADD COLUMN location_name text,
    ADD COLUMN country_code text,
    ADD COLUMN pixels_per_mm double precision CHECK (pixels_per_mm > 0),
    ADD COLUMN species_list text,
    -- Further columns of the file, as they were.
    ADD COLUMN further jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN described_at timestamptz,
    ADD CHECK ((latitude IS NULL) = (longitude IS NULL));

-- A clock that was wrong: how much later it should have been. Append-only but for its being undone.
CREATE TABLE clock_shifts (
    shift_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id bigint NOT NULL REFERENCES deployments,
    seconds bigint NOT NULL CHECK (seconds <> 0),
    reason text NOT NULL DEFAULT '',
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    undone_by text,
    undone_at timestamptz
);
CREATE INDEX clock_shifts_of_deployment ON clock_shifts (deployment_id);

-- The digits of the camera's stamp, and how many minutes east of UTC they are if the file says so. Null for photographs
-- from before this was recorded: their captured_at is the digits taken as UTC, or a moment.
ALTER TABLE captures ADD COLUMN stamp timestamp, ADD COLUMN stamp_offset smallint;
ALTER TABLE job_images ADD COLUMN stamp timestamp, ADD COLUMN stamp_offset smallint;

-- What a label means. GBIF lists have no labels: theirs are the canonical names.
CREATE TABLE taxa (
    project_id bigint NOT NULL REFERENCES projects,
    label text NOT NULL,
    scientific_name text NOT NULL,
    rank text NOT NULL,
    -- Names by rank, the taxon's own among them.
    lineage jsonb NOT NULL DEFAULT '{}',
    taxon_id text,
    vernacular_name text,
    finest_rank text,
    imported_by text NOT NULL DEFAULT '',
    imported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, label)
);

-- A regional checklist: only classes of these names compete.
CREATE TABLE species_lists (
    project_id bigint NOT NULL REFERENCES projects,
    name text NOT NULL,
    -- Scientific names, sorted.
    names jsonb NOT NULL,
    imported_by text NOT NULL DEFAULT '',
    imported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, name)
);

-- Every post-processing recipe that a project had, by its hash; the project names the one that holds.
CREATE TABLE recipes (
    project_id bigint NOT NULL REFERENCES projects,
    hash text NOT NULL,
    text text NOT NULL,
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, hash)
);
-- Null: the built-in recipe; no list.
ALTER TABLE projects ADD COLUMN recipe text, ADD COLUMN species_list text;

-- What people say a detection is. Append-only; the newest counts.
CREATE TABLE reviews (
    review_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    job_id bigint NOT NULL,
    detection_id text NOT NULL,
    label text NOT NULL,
    reviewer text NOT NULL DEFAULT '',
    reviewed_at timestamptz NOT NULL,
    imported_by text NOT NULL DEFAULT '',
    imported_at timestamptz NOT NULL DEFAULT now(),
    -- The same file again adds nothing.
    UNIQUE (job_id, detection_id, reviewer, reviewed_at, label)
);
CREATE INDEX reviews_of_project ON reviews (project_id);

-- What a worker registered of each class, such as rank and GBIF key, in the order of `labels`.
ALTER TABLE algorithms ADD COLUMN categories jsonb NOT NULL DEFAULT '[]';

-- The job whose boxes are classified anew.
ALTER TABLE jobs ADD COLUMN detections_of bigint;

-- Its images' boxes, as `domain/given_boxes.py` packs them: they are the job's own from then on, whatever becomes of the
-- other one. Empty for an image without any; null in other jobs.
ALTER TABLE job_images ADD COLUMN boxes bytea;

-- Whether a pipeline can classify boxes that it is given.
ALTER TABLE pipelines ADD COLUMN takes_detections boolean NOT NULL DEFAULT false;

-- Of pipelines that workers registered: whether all scores are kept is decided anew, by the number of classes. Jobs that
-- were submitted stay as they are.
UPDATE pipelines SET default_config = default_config - 'full_scores' || '{"scores": "auto"}'
WHERE default_config ? 'full_scores' AND default_config ? 'top_k';
