"""Pipelines made from a user's own model: a program written by `torch.export`, and a YAML file that describes it."""
