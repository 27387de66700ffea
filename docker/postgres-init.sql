-- Two databases, each with a role that cannot enter the other's. The image runs this once, on an empty volume.
\getenv catalog_password CATALOG_PASSWORD
\getenv dagster_password DAGSTER_PASSWORD

-- A statement that fails is logged with its text, password and all.
SET log_min_error_statement = panic;

-- Neither can take all connections: compose.yaml's max_connections is above the sum. The catalog needs five for each of
-- the 24 collectors that dagster.yaml admits; Dagster about three for every run, and fifty for its own processes.
CREATE ROLE antenna LOGIN PASSWORD :'catalog_password' CONNECTION LIMIT 160;
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password' CONNECTION LIMIT 150;

CREATE DATABASE antenna OWNER antenna;
CREATE DATABASE dagster OWNER dagster;
REVOKE CONNECT ON DATABASE antenna, dagster, postgres, template1 FROM PUBLIC;
