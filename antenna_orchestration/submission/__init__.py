"""Turns what a person names (folders, patterns, buckets, lists, URLs) into a list of images with capture times.

`sources.gather` is the entry point. `locations` makes the URI of one image and checks that it is allowed,
`source_lists` reads lists, `buckets` lists S3, and `capture_times` fills in when images were taken. Nothing here writes
to a store.
"""
