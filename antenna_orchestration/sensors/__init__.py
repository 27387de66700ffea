"""What watches: queued jobs, runs that end, and backlog without a worker."""
