"""docker/ checked without a Docker engine: read, linted, and each service run on the real binaries of this machine."""
