"""Settings: where things are, whose they are and how much is allowed.

Invariants: settings are frozen once loaded; this module is the only reader of the environment;
a later source wins over an earlier one: defaults < `<data_dir>/cdesk.toml` < `CDESK_*` < flags.
But what belongs to the folder (`FOLDER_SETTINGS`) is the same for all its processes:
`cdesk.folder_settings.settle` puts the folder's, where `cdesk.toml` wins over all, in place of what
one process was told.
An unknown key, a wrong type or a value out of range is an error that names the key and its source.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import platformdirs

from cdesk.errors import ConfigError, reason
from cdesk.smallfile import parsed_toml, read_small
from cdesk.warehouse import ENGINES

_MAX_TOML_BYTES = 64 * 1024

_log = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LOG_LEVELS = ("debug", "info", "warning", "error")
_ENVIRONMENT: Final = "the environment"
_COMMAND_LINE: Final = "the command line"
_NOT_YET: Final = {
    "connection": "Snowflake as the warehouse is",
    "snowflake": "Snowflake as the warehouse is",
    "renderer": "the web renderer is",
    "metrics": "metrics are",
    "retention": "retention is",
}
"""What a setting of these names, or one that begins so, would ask for."""
_TAKEN_SCHEMAS = ("information_schema", "pg_catalog", "system", "temp", "warehouse")

MAX_DATA_DIR_BYTES: Final = 480
"""The longest path of a data folder; the link to a result in it has room in an event."""

FOLDER_SETTINGS: Final = (
    "warehouse", "database", "schema", "templates_dir", "byte_cap", "statement_timeout_s",
    "queries_per_minute", "memory_cap",
)  # fmt: skip
"""What belongs to a data folder and not to one of its processes: where its rows are, which
questions may be asked of them, and what these may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a process of cdesk is told from outside; see `load` for the sources."""

    data_dir: Path
    """The folder that holds `queue/`, `state.db`, `artifacts/`, `warehouse.duckdb`,
    `cdesk.toml`, `settings.json`."""
    customer: str
    """The canonical customer id of every event; no tool takes another one."""
    warehouse: str = "duckdb"
    """The analytics engine: `duckdb`, a file in the data folder."""
    database: str = "CLAUDE_LOGS"
    """The warehouse's database; with the embedded file its name is the file's."""
    schema: str = "ACTIVITIES"
    """The schema of every table."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`; logs go to stderr."""
    templates_dir: Path | None = None
    """An operator's own folder of SafeSQL templates, beside the shipped ones."""
    byte_cap: int = 10_000_000_000
    """Bytes a query may be estimated to scan before it runs on a sample, or is refused."""
    statement_timeout_s: float = 30.0
    """Seconds after which a running statement is interrupted."""
    queries_per_minute: int = 60
    """Queries one customer may submit within any minute."""
    memory_cap: int = 1_000_000_000
    """Bytes of memory the embedded warehouse takes before it spills to `warehouse.duckdb.tmp`."""
    worker_grace_s: float = 15.0
    """Seconds since its last work before which a worker does not leave; after them it leaves as
    soon as no client is there."""
    segment_grace_s: float = 3600.0
    """Seconds since its last line for which a log segment is kept, though the warehouse has
    checkpointed it."""
    told: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The names that the environment or the command line gave; no setting, and never compared."""

    @property
    def settings_path(self) -> Path:
        """The file in which a person sets what the folder's processes work with."""
        return self.data_dir / "cdesk.toml"

    @property
    def queue_dir(self) -> Path:
        """The event log's folder."""
        return self.data_dir / "queue"

    @property
    def state_path(self) -> Path:
        """The state store's file."""
        return self.data_dir / "state.db"

    @property
    def artifacts_dir(self) -> Path:
        """The folder of full results."""
        return self.data_dir / "artifacts"

    @property
    def warehouse_path(self) -> Path:
        """The embedded warehouse's file."""
        return self.data_dir / "warehouse.duckdb"

    @property
    def worker_log_path(self) -> Path:
        """The file a worker that was started by a server logs to."""
        return self.data_dir / "worker.log"

    def create_folders(self) -> None:
        """Creates the data folder and its subfolders, readable by the owner alone (0700).

        Those that are there and that others may read are tightened to 0700, but for a data folder
        that holds something and nothing of cdesk's.

        Raises:
            ConfigError: one cannot be created, is a link or no folder, belongs to somebody else, or
                others may write to it and so may have put something there, or read it and it holds
                nothing of cdesk's.
        """
        for folder in (self.data_dir, self.queue_dir, self.artifacts_dir):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"data_dir: {folder} cannot be created ({error.strerror}); "
                    "set CDESK_DATA_DIR to a folder you may write"
                ) from error
            _make_private(folder, holds=_OWN_NAMES if folder == self.data_dir else None)

    def look_at_folders(self) -> None:
        """Refuses the folders that are there as `create_folders` does; changes nothing.

        Raises:
            ConfigError: as `create_folders`, but for one that cannot be created.
        """
        for folder in (self.data_dir, self.queue_dir, self.artifacts_dir):
            if os.path.lexists(folder):
                holds = _OWN_NAMES if folder == self.data_dir else None
                _make_private(folder, holds=holds, is_look_only=True)


_OWN_NAMES: Final = frozenset(
    {
        "queue",
        "artifacts",
        "state.db",
        "settings.json",
        "warehouse.duckdb",
        "cdesk.toml",
        "tags.state",
    }
)
"""What tells a data folder from any other."""


def _make_private(
    folder: Path, *, holds: frozenset[str] | None, is_look_only: bool = False
) -> None:
    """Tightens a folder that holds nothing, or one of those names, or is one of our own inside."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"data_dir: {folder} is no folder of its own ({error.strerror}); a link is refused, "
            "name the folder that it points to"
        ) from error
    try:
        found = os.fstat(opened)
        if os.geteuid() not in (0, found.st_uid):
            raise ConfigError(
                f"data_dir: {folder} belongs to user {found.st_uid}; use a folder of your own"
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(
                f"data_dir: others may write to {folder} (mode {stat.S_IMODE(found.st_mode):04o}); "
                f"look at what is in it, then chmod 700 {folder}"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            if (
                holds is not None
                and (held := {path.name for path in folder.iterdir()})
                and not held & holds
            ):
                raise ConfigError(
                    f"data_dir: {folder} is readable by others and holds nothing of cdesk's; it "
                    "would be closed to them: name a folder of its own, a new one for example"
                )
            if is_look_only:
                return
            os.fchmod(opened, 0o700)
            _log.warning("%s could be read by others; it is yours alone now (0700)", folder)
    finally:
        os.close(opened)


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Loads the settings: defaults < `<data_dir>/cdesk.toml` < `CDESK_*` < `flags`.

    Args:
        flags: values by field name; `None` values count as not given.
        environment: stands in for the process environment.

    Raises:
        ConfigError: names the key, where it came from and what is allowed.
    """
    environ = os.environ if environment is None else environment
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    from_environment: dict[str, object] = {
        name.removeprefix("CDESK_").lower(): value
        for name, value in environ.items()
        if name.startswith("CDESK_")
    }
    values: dict[str, object] = {}
    for source, entries in ((_ENVIRONMENT, from_environment), (_COMMAND_LINE, given)):
        if "data_dir" in entries:  # before the others: it says where cdesk.toml is
            values["data_dir"] = _convert("data_dir", entries["data_dir"], source)
    if "data_dir" not in values:
        default = platformdirs.user_data_path("cdesk", appauthor=False)
        values["data_dir"] = _convert("data_dir", default, "this user's HOME; set CDESK_DATA_DIR")
    path = Path(str(values["data_dir"])) / "cdesk.toml"
    for key, value in _read_toml(path).items():
        values[key] = _from_file(key, value, path)
    for source, entries in ((_ENVIRONMENT, from_environment), (_COMMAND_LINE, given)):
        for key, value in entries.items():
            values[key] = _from_text(key, value, source)
    if "customer" not in values:
        name = system_user()
        values["customer"] = _convert("customer", name, "this user's name; set CDESK_CUSTOMER")
    values["told"] = frozenset(from_environment | given)
    return Settings(**values)  # type: ignore[arg-type]  # every value went through _convert


def inherited_environment(settings: Settings) -> dict[str, str]:
    """The environment for a child process of cdesk that must see the same settings."""
    child = {key: value for key, value in os.environ.items() if not key.startswith("CDESK_")}
    for name in _CONVERT:
        value = getattr(settings, name)
        if value is not None:
            child[f"CDESK_{name.upper()}"] = str(value)
    return child


def folder_values(settings: Settings) -> dict[str, str]:
    """The folder's settings as texts, as a process has them."""
    values = {name: getattr(settings, name) for name in FOLDER_SETTINGS}
    return {name: _as_text(value) for name, value in values.items()}


def told_values(settings: Settings) -> dict[str, str]:
    """The folder's settings as texts, those alone that somebody told the process: a default that
    nobody named is none."""
    defaults = {each.name: _as_text(each.default) for each in fields(Settings)}
    return {
        name: value
        for name, value in folder_values(settings).items()
        if name in settings.told or value != defaults[name]
    }


def folder_file_values(settings: Settings) -> dict[str, str]:
    """The folder's settings that its `cdesk.toml` names, as texts.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = settings.settings_path
    named = {
        name: _from_file(name, value, path)
        for name, value in _read_toml(path).items()
        if name in FOLDER_SETTINGS
    }
    return {name: _as_text(value) for name, value in named.items()}


def _as_text(value: object) -> str:
    return "" if value is None else str(value)


def with_folder_values(settings: Settings, values: Mapping[str, str]) -> Settings:
    """The settings with the folder's in place of their own."""
    source = f"the records of {settings.data_dir}"
    converted = {
        name: _from_text(name, value, source)
        for name, value in values.items()
        if name in FOLDER_SETTINGS
    }
    return replace(settings, **converted)  # type: ignore[arg-type]  # went through _convert


def _from_file(key: str, value: object, path: Path) -> object:
    if key == "templates_dir" and isinstance(value, str) and value:
        # relative to the file that names it, not to wherever a client started the process
        value = path.parent / Path(value).expanduser()
    return _convert(key, value, str(path))


def _from_text(key: str, value: object, source: str) -> object:
    """As `_convert`, from where all is text, also what is a number in `cdesk.toml`."""
    if key in _NUMBERS and isinstance(value, str):
        for kind in (int, float):
            with suppress(ValueError):
                return _convert(key, kind(value), source)
    return _convert(key, value, source)


def system_user() -> str:
    """The name of the user that the process runs as; `local` where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a bare container
        return "local"


def _read_toml(path: Path) -> dict[str, object]:
    try:
        entries: dict[str, object] = parsed_toml(read_small(path, _MAX_TOML_BYTES).decode())
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise ConfigError(
            f"data_dir: {path.parent} is no folder; set CDESK_DATA_DIR to one you may write, or "
            "name it with --data-dir"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: no file, neither TOML nor UTF-8
        why = reason(error) if isinstance(error, OSError) else error
        raise ConfigError(f"{path} cannot be read: {why}; mend or remove it") from error
    if "data_dir" in entries:
        raise ConfigError(f"{path}: data_dir cannot be set here; use CDESK_DATA_DIR or --data-dir")
    return entries


def _convert(key: str, value: object, source: str) -> object:
    convert = _CONVERT.get(key)
    if convert is None:
        raise ConfigError(f"{_spelled(key, source)}: {_unknown(key, source)}")
    try:
        return convert(value)
    except ValueError as error:
        raise ConfigError(f"{_spelled(key, source)}: {error} (from {source})") from error


def _spelled(key: str, source: str) -> str:
    """A setting's name as it stands in its source."""
    if source == _ENVIRONMENT:
        return f"CDESK_{key.upper()}"
    return f"--{key.replace('_', '-')}" if source == _COMMAND_LINE else key


def _unknown(key: str, source: str) -> str:
    for word, what in _NOT_YET.items():
        if key == word or key.startswith(f"{word}_"):
            return f"{what} not in this version (from {source}); take it out"
    known = (name for name in sorted(_CONVERT) if name != "data_dir" or source == _ENVIRONMENT)
    listed = ", ".join(_spelled(name, source) for name in known)
    return f"no such setting (from {source}); known settings: {listed}"


def _text(value: object) -> str:
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > 255
        or not value.isprintable()
    ):
        raise ValueError("must be a printable text of 1 to 255 characters")
    return value.strip()


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise ValueError("must be a name of letters, digits and underscores")
    return value


def _path(value: object) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("must be a path")
    try:
        str(value).encode()
    except UnicodeEncodeError:  # DuckDB opens no such path, and JSON names none
        raise ValueError("must be a path in UTF-8; rename the folder or choose another") from None
    if "\0" in str(value):
        raise ValueError("must be a path; this one has a zero byte")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("must be a path; this one begins with ~ and an unknown user") from None


def _data_dir(value: object) -> Path:
    path = _path(value)
    # SQLite goes by the path behind all links
    if max(len(os.fsencode(name)) for name in (path, os.path.realpath(path))) > MAX_DATA_DIR_BYTES:
        raise ValueError(
            f"must be a path of at most {MAX_DATA_DIR_BYTES} bytes: SQLite opens no file in a "
            "folder with a longer one; choose a folder nearer to the root"
        )
    return path


def _optional_path(value: object) -> Path | None:
    return None if value == "" else _path(value)


def _schema(value: object) -> str:
    name = _identifier(value)
    if name.lower() in _TAKEN_SCHEMAS:
        raise ValueError(f"must not be {name.lower()}, which the warehouse keeps for itself")
    return name


def _warehouse(value: object) -> str:
    if isinstance(value, str) and value.strip().lower() == "snowflake":
        raise ValueError(f"snowflake is not in this version; leave it out or say {ENGINES[0]}")
    return _one_of(*ENGINES)(value)


def _one_of(*allowed: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        text = value.lower() if isinstance(value, str) else ""
        if text not in allowed:
            only = "must be" if len(allowed) == 1 else "must be one of"
            raise ValueError(f"{only} {', '.join(allowed)}")
        return text

    return convert


def _number(kind: type[int | float], low: float, high: float) -> Callable[[object], Any]:
    def convert(value: object) -> int | float:
        what = "whole number" if kind is int else "number"
        rule = f"must be a {what} from {low:g} to {high:g}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(rule)
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            raise ValueError(rule) from None
        if not low <= number <= high or (isinstance(value, float) and number != value):
            raise ValueError(rule)
        return number

    return convert


_NUMBERS: dict[str, Callable[[object], object]] = {
    "byte_cap": _number(int, 1, 1e18),
    "statement_timeout_s": _number(float, 0.1, 3600),
    "queries_per_minute": _number(int, 1, 100_000),
    "memory_cap": _number(int, 100_000_000, 1e15),
    "worker_grace_s": _number(float, 0, 86_400),
    "segment_grace_s": _number(float, 0, 31_536_000),
}
_CONVERT: dict[str, Callable[[object], object]] = {
    "data_dir": _data_dir,
    "customer": _text,
    "warehouse": _warehouse,
    "database": _identifier,
    "schema": _schema,
    "log_level": _one_of(*_LOG_LEVELS),
    "templates_dir": _optional_path,
    **_NUMBERS,
}
