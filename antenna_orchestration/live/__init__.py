"""What is true right now, in Redis: live counters, the tasks that HTTP workers hold, and the workers themselves.

How much a worker may hold, and when its leases end, is decided from what is kept here. It is not a record: when Redis
is wiped, counters are written again, leases end with the queue's own, and their images are processed again.
"""
