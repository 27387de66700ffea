"""One pipeline on a few photographs, without a stack: in a process of its own, with a worker's checks."""
