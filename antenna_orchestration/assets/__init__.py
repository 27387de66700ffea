"""What a job materializes, with one partition per job, and the assets of operations."""
