"""Loading photographs from where their URIs point: files, http(s) and S3, within time, size and memory.

Used by workers, and for the pictures in the UI. A URL is a submitter's word: only this code follows it, with its checks
of addresses and redirects.
"""
