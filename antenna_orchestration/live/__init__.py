"""What is true right now, in Redis: live counters, the leases of HTTP workers, and what is known of those workers."""
