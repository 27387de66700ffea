"""A job's life, one verb a module: submit, publish, collect, finish, cancel, retry, reconcile, health."""
