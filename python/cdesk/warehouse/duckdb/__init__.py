"""The embedded warehouse: one DuckDB file in the data folder, opened for each unit of work.

`connection` opens and hardens the file, `sink` stores batches of events, `questions` runs queries,
`ledger` keeps what they were, and `engine` is the warehouse of these.

DuckDB lets one process hold a file for writing and shuts every other one out, readers too. So the
file is held while there is work and then let go, under steady work for a tenth of a second after
each second or so; when somebody else holds it, work only waits.
"""

from cdesk.warehouse.duckdb.engine import DuckDBWarehouse

__all__ = ["DuckDBWarehouse"]
