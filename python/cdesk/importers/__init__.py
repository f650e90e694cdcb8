"""The official Claude data export as events of the stream.

Invariants: what is read is bounded in memory (`reader`); one conversation gives all of its events
or a reason (`events`); texts stay out unless asked for (`blocks`); every conversation of a file is
counted as imported or as skipped, and importing it again adds nothing (`importer`).

The export, as far as it is read: a zip with `conversations.json`, that file, or JSON lines; an
array of conversations with `uuid`, `name`, `created_at` and `chat_messages`; messages with `uuid`,
`sender` (`human`, `assistant`), `created_at`, `text`, `content`, `attachments` and `files`; blocks
of type `text`, `thinking`, `tool_use` and `tool_result`. Unknown fields and block types are
ignored.

    a conversation        cdesk.session_started, cdesk.session_ended
    a human message       cdesk.user_asked
    an assistant message  cdesk.claude_responded
    tool_use              cdesk.tool_called
    tool_result           cdesk.tool_completed, or cdesk.tool_failed when `is_error`
    attachments, files    cdesk.file_read
"""

from cdesk.importers.events import events_of
from cdesk.importers.fields import Malformed
from cdesk.importers.importer import Progress, Skipped, Summary, import_export
from cdesk.importers.ledger import LEDGER_NAME, Ledger
from cdesk.importers.reader import ExportFile, Raw, Unreadable, open_export

__all__ = [
    "LEDGER_NAME",
    "ExportFile",
    "Ledger",
    "Malformed",
    "Progress",
    "Raw",
    "Skipped",
    "Summary",
    "Unreadable",
    "events_of",
    "import_export",
    "open_export",
]
