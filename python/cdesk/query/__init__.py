"""Questions: from a template and its parameters to a card with provenance.

`ticket` is the state machine in the state store, `service` what a server and the command line call,
`runner` what the worker does with a ticket, `card` what comes out, `artifacts` how the folder of
full results is tidied.

Invariant: `ticket`, `service` and `card` import neither a driver nor a SQL parser, because the
server process uses them in the turn of a conversation.
"""
