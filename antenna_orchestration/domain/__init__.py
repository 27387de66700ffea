"""The words of the project: ids, jobs, tasks, leases, results, progress. Pure values, no I/O."""
