"""The `antenna` command tree: one module per noun, each command a thin call of a verb of `processing`."""
