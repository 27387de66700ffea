"""`dagster api grpc`, whose runs are forked from a process that has everything imported already.

Dagster starts a run with multiprocessing's `spawn`: a new interpreter imports Dagster, the definitions and the clients
of all stores, most of what a small job costs. Python's `forkserver` imports them once. The options are those of
`dagster api grpc`, without variables that it would inject from its instance. See docs/decisions/runs.md.
"""
