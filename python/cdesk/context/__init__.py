"""The context blob: what a conversation should know before it asks.

`builder` makes a customer's snapshot from the warehouse, in the worker; `reader` serves it, in the
turn of a conversation.

Invariants: reading never touches the warehouse; a blob is derived from the stream alone and can be
rebuilt from it; what is called fresh has everything that the sink had committed (a request for the
customer's snapshot is stored before the sink commits, and settled by a snapshot that was begun
after it).
"""
