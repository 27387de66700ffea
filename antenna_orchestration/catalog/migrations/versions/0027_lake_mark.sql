-- What tells this catalog from any other. Its lake has the same mark, so that two catalogs never write into one lake, and
-- nobody takes the folder below which a disk is not mounted for a lake.
CREATE TABLE lake_mark (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    mark uuid NOT NULL DEFAULT gen_random_uuid(),
    -- When a lake was marked with it first; from then on an empty lake is one that is not mounted.
    claimed_at timestamptz
);

INSERT INTO lake_mark DEFAULT VALUES;
