"""The push worker: it leases tasks like any worker behind the gateway, and posts them to a processing service."""
