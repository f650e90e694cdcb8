"""cdesk: a memory and a BI desk for Claude Desktop, in your own warehouse.

`cdesk.Recorder` is the embedding API: events and insights into the durable log. The command line
is `cdesk`; the event log, query tags, hashes and cache alone are `import cdesk_core`.
"""
