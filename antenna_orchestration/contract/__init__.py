"""The HTTP contract with existing workers and processing services, and its translation to and from the domain.

`models` has the requests and responses, `results` reads posted results, `client_info` what workers say of themselves,
and `statuses` has the names of job statuses. `pushing` writes requests to a processing service and reads its answers;
`serving` is the other side of that. Nothing here may change in a way that existing workers would notice.
"""
