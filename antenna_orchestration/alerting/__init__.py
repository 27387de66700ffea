"""Where alerts go: the file that says so, and one module for each kind of target."""
