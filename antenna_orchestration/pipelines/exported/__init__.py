"""A person's own model: a program of `torch.export`, or weights in a published architecture, with a YAML beside it."""
