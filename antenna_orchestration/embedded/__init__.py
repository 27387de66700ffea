"""Real servers as child processes of one command: NATS, Redis, PostgreSQL and Dagster's three processes."""
