"""What a job materializes, one partition a job, and the assets of operations."""
