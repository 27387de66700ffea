-- What tells this catalog from any other. Its lake has the same mark, so that two catalogs never write into one lake, and
-- nobody takes the folder below which a disk is not mounted for a lake.
CREATE TABLE lake_mark (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    mark uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO lake_mark DEFAULT VALUES;
