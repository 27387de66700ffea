-- Whether anybody holds the advisory lock of this name; a lock of one 64-bit key is two halves here.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory'
      AND granted
      AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = hashtextextended(%(key)s, 0)
) AS is_locked
