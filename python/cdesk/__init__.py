"""cdesk: a memory and a BI desk for Claude Desktop, in your own warehouse.

The embedding API is `cdesk.recorder.Recorder` on `cdesk.config.load()`: events and insights into
the durable log. The command line is `cdesk`; the log, query tags, hashes and cache alone are
`import cdesk_core`.
"""
