"""From what a person names to a list of images: folders, patterns, buckets, lists, and the time each was captured."""
