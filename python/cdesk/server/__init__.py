"""The MCP server: `tools` (what each tool takes and does), `app` (the protocol), `stdio` (the
wire).

Invariant: a server process imports no warehouse driver and no SQL parser; a tool call appends to
the log, takes query tags, and reads and writes the state store, nothing else.
"""
