"""Pure decisions of a worker: whose turn it is, how much to hold, what a failed load means. No input or output."""
