"""cdesk: a memory and a BI desk for Claude Desktop, in your own warehouse.

`Recorder` is the embedding API: events and insights into the durable log. The command line is
`cdesk`; the event log, query tags, hashes and cache alone are `import cdesk_core`.
"""

from cdesk_core import __version__

from cdesk.activity import Event
from cdesk.config import Settings, load
from cdesk.errors import CdeskError
from cdesk.insight import Insight
from cdesk.recorder import Recorder

__all__ = ["CdeskError", "Event", "Insight", "Recorder", "Settings", "__version__", "load"]
