"""Loads photographs from the files, http(s) servers and S3 buckets that their URIs name.

Every load is limited in time, size and memory. Workers use this package, and so does the run that draws sample pictures
for Dagster's UI. `loader.Loader` is the entry point; each kind of store has a module of its own (`file_source`,
`http_source`, `s3_source`). URLs come from whoever submitted a job and are not trusted: no other code follows them, and
this code checks every address and every redirect.
"""
