"""The HTTP contract with existing workers and processing services, and its translation to and from the domain.

`models` has the requests and responses, `results` reads posted results, `pushing` the exchange with a processing
service, and `statuses` the names of job statuses. Nothing here may change in a way that existing workers would notice.
"""
