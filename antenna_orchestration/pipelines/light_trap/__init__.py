"""Pipelines for insects on the lit sheet of a light trap; their weights are part of the package.

`specs` describes them. `network_detector` (with `insect_network`) and `blob_detector` (with `sheets`, `blobs` and
`insect_shape`) are the two halves, `candidates` merges what they find, and `ensemble` is the default pipeline with
both.
"""
