"""Where workers are started."""
