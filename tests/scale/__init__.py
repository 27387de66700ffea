"""Beyond one machine: a NATS cluster, code locations elsewhere."""
