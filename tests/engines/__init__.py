"""Engines that exist, for real: a Slurm cluster of one host, containers, servers and links as they are elsewhere."""
