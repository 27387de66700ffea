"""NATS JetStream: streams, consumers, leases, results, announcements. The only place that imports nats."""
