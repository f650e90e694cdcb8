"""`cdesk_core` beside named peers: same run, interleaved rounds, and the bars it has to meet."""
