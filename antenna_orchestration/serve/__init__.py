"""A processing service: `antenna serve` runs pipelines for whoever posts photographs to it over HTTP."""
