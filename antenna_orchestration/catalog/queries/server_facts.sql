SELECT current_setting('server_version') AS version, now() AS now, current_setting('max_connections')::integer AS most,
       current_setting('superuser_reserved_connections')::integer AS reserved,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       current_setting('fsync')::boolean AS fsync, (SELECT version_num FROM alembic_version) AS level
