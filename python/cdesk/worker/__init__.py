"""The worker: ships the log, refreshes contexts and runs tickets for one data folder.

A supervisor (the lease, the settings, the heartbeat, coming and going) and its duties, a module
each: `shipping`, `contexts` and `tidying` in the supervisor's own thread, one after the other, and
`answering` in a thread of its own.

Invariants: one worker a folder, by a lock that ends with the process; killed at any moment it loses
nothing and doubles nothing, and its successor goes on from what the warehouse says; it leaves when
no client is there, nothing waits, and the grace is over; trouble with the warehouse only delays,
and is told in the heartbeat while it lasts, like what ended a worker; a duty that has ended ends
the worker; when the folder it began in is moved away or deleted, it ends; no wait goes by the wall
clock, though the age of a ticket or a result does.
"""

from cdesk.worker.supervisor import Worker

__all__ = ["Worker"]
