-- Capture sets: frozen lists of photographs, with the rules that made them.
CREATE TABLE capture_sets (
    set_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    name text NOT NULL,
    -- As domain/capture_sets.py writes it.
    rule jsonb NOT NULL,
    photographs bigint NOT NULL,
    -- How many were not chosen, by the reason.
    not_chosen jsonb NOT NULL DEFAULT '{}',
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When the list was last made.
    made_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name)
);

-- As for captures, no foreign keys here: the rows are as many as photographs. One that is gone is in no list any more.
CREATE TABLE capture_set_images (
    set_id bigint NOT NULL,
    ordinal bigint NOT NULL,
    image_id bigint NOT NULL,
    PRIMARY KEY (set_id, ordinal)
);
