"""The push worker: it leases tasks like any worker behind the gateway, and has a processing service infer them."""
