"""Every error that cdesk raises on purpose.

::

    CdeskError
    ├── ConfigError            a setting is missing, malformed or contradicts another
    ├── InvalidActivity        an activity name or an event breaks the rules of the stream
    ├── InvalidArgument        an argument of a tool, a command or a function is wrong
    │   ├── UnknownCustomer    a customer this installation does not serve
    │   ├── UnknownTemplate    no template of that name
    │   └── UnknownTicket      no ticket of that id
    ├── TemplateError          a template file is not SafeSQL
    ├── QueryRefused           a query may not run now: kill switch, blocked template (retryable)
    │   └── TooManyQueries     there were too many within a minute (retryable)
    ├── NoCardYet              a query had no card within the time that was waited (retryable)
    ├── QueryFailed            a query ran and failed or was cancelled
    │   └── QueryTimedOut      it took longer than it may
    ├── ImportFailed           an export file cannot be read as one
    │   └── ImportStopped      the log took no more of it (retryable)
    ├── WarehouseError
    │   ├── WarehouseBusy      somebody else holds the warehouse; trying again will work (retryable)
    │   ├── WarehouseUnavailable  the warehouse cannot be reached (retryable)
    │   │   └── NoRoom           the disk is full (retryable)
    │   ├── WarehouseFailed    the warehouse failed and trying again does not help
    │   ├── NotEnoughMemory    it needs more memory than memory_cap allows
    │   ├── BatchRejected      the warehouse refused a batch; the same bytes cannot succeed
    │   ├── PositionMoved      the warehouse is not where a batch begins (retryable)
    │   └── SchemaError        the warehouse's schema and this version's migrations disagree
    ├── Unconfirmed            an event may or may not be recorded (retryable)
    ├── LockHeld               another program holds a lock file of the data folder (retryable)
    └── StateError             the state store cannot be used
        └── StateBusy          another program holds it (retryable)

Invariants: a message names the thing, the place and the next move, and never holds SQL, a payload
or a secret. `retryable` says whether the same call can succeed later without a change; `exit_code`
is what the command line leaves with. Errors of the log are `cdesk_core.Error` and `OSError`.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

_NO_FILES: Final = (
    "this process may open no more files: start it anew (restart Claude Desktop), with a higher "
    "`ulimit -n` if it comes again"
)
_NEXT_MOVES: Final[Mapping[int, str]] = {
    errno.EMFILE: _NO_FILES,
    errno.ENFILE: "the whole system may open no more files: end other programs",
    errno.ENOENT: "look whether its folder was moved or deleted; start the program anew (restart "
    "Claude Desktop) once it is there",
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free disk space of this user, whose share is used up",
    errno.EACCES: "mend its permissions",
    errno.EPERM: "mend its permissions",
    errno.EROFS: "make its filesystem one that can be written",
}
_PLACES: Final = 8

NO_MORE_FILES: Final = (errno.EMFILE, errno.ENFILE)
"""The numbers of an `OSError` that say nothing of a file but that too many are open."""


def reason(error: OSError) -> str:
    """What the system says, without the place it says it of."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def next_move(error: OSError) -> str:
    """What a person can do about it."""
    return _NEXT_MOVES.get(error.errno or 0, "free disk space or mend the disk")


def told(error: BaseException) -> str:
    """An error in words for a person: of the system's, what it is, its place once and the next
    move, which the log's own errors have in their texts."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if error.filename is None:
        return f"{error.strerror}; {next_move(error)}"
    if str(error.filename) in error.strerror:
        return error.strerror
    return f"{error.filename}: {error.strerror}; {next_move(error)}"


class CdeskError(Exception):
    """Anything cdesk raises on purpose; `str(error)` is safe to show to anybody."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class Unconfirmed(CdeskError):
    """The log failed while it made an event durable: it may be there or not; recording the same
    event again is safe."""

    exit_code = 74
    retryable = True


class ConfigError(CdeskError):
    """A setting is missing, malformed or contradicts another."""

    exit_code = 78


class InvalidActivity(CdeskError, ValueError):
    """An activity name or an event breaks the rules of the stream."""

    exit_code = 65


class InvalidArgument(CdeskError, ValueError):
    """An argument of a tool, a command or a function is wrong."""

    exit_code = 2


class UnknownCustomer(InvalidArgument):
    """The customer is not the one this installation serves."""


class UnknownTemplate(InvalidArgument):
    """No template has that name."""


class UnknownTicket(InvalidArgument):
    """No ticket has that id."""


class TemplateError(CdeskError):
    """A template file is not SafeSQL; names the file and the rule it breaks."""

    exit_code = 65


class QueryRefused(CdeskError):
    """The query may not run now: kill switch, blocked template or rate limit."""

    exit_code = 69
    retryable = True


class TooManyQueries(QueryRefused):
    """There were as many queries within a minute as may be: this one was dropped."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} {'query was' if most == 1 else 'queries were'} submitted within a minute, "
            "which is the limit; wait a minute, or answer from get_context"
        )
        self.most = most


class NoCardYet(CdeskError):
    """The query had no card within the time that was waited for it: the warehouse is held or away,
    or the worker is behind."""

    exit_code = 75
    retryable = True


class QueryFailed(CdeskError):
    """The query ran and failed, timed out or was cancelled."""

    exit_code = 70


class QueryTimedOut(QueryFailed):
    """The query took longer than a statement may and was stopped."""


class ImportFailed(CdeskError):
    """The export file cannot be read as one."""

    exit_code = 65


class ImportStopped(ImportFailed):
    """The log took no more of an import; the same import goes on and adds nothing twice."""

    exit_code = 74
    retryable = True


class WarehouseError(CdeskError):
    """The warehouse could not do what was asked."""

    exit_code = 69


class WarehouseBusy(WarehouseError):
    """Another process holds the warehouse; the same call works once it lets go."""

    retryable = True
    exit_code = 75


class WarehouseUnavailable(WarehouseError):
    """The warehouse cannot be reached or opened now."""

    retryable = True
    exit_code = 75


class NoRoom(WarehouseUnavailable):
    """The disk has no room for what the warehouse writes."""

    exit_code = 74


class WarehouseFailed(WarehouseError):
    """The warehouse failed in a way that trying again does not mend; the log names the cause."""

    exit_code = 70


class NotEnoughMemory(WarehouseError):
    """The work needs more memory than the setting memory_cap allows; less at a time may not."""

    exit_code = 70


class BatchRejected(WarehouseError):
    """The warehouse refused a batch; sending the same bytes again cannot succeed."""

    exit_code = 65


class PositionMoved(WarehouseError):
    """The warehouse is not where a batch begins: another took its place, or somebody else wrote."""

    retryable = True
    exit_code = 75


class SchemaError(WarehouseError):
    """The warehouse's schema and the migrations of this version disagree."""

    exit_code = 78


class LockHeld(CdeskError):
    """Another program holds a lock file of the data folder; the same call works once it lets go."""

    retryable = True
    exit_code = 75


class StateError(CdeskError):
    """The state store cannot be opened, read or written."""

    exit_code = 74


class StateBusy(StateError):
    """Another program holds a lock on the state store; the same call works once it lets go."""

    retryable = True
    exit_code = 75


def kind_of(error: BaseException) -> str:
    """An error's class and number, such as `OSError ENOSPC`: few, and they quote nothing."""
    number = error.errno if isinstance(error, OSError) else None
    code = "" if number is None else f" {errno.errorcode.get(number, number)}"
    return f"{type(error).__name__}{code}"


def place_of(error: BaseException) -> str:
    """Where an error was raised, innermost call first: files, lines and functions, no values."""
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_PLACES:])
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
