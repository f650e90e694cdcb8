"""The settings that belong to a data folder: the same for all its processes.

Invariants: they are kept in `settings.json`, apart from every store, so that nothing that becomes
of a store changes them; what the first process of a folder was told is kept, and only `cdesk.toml`
changes what is kept; who settles them reads and writes under one lock; a process that was told
otherwise works with the folder's, and says so; a default that nobody told is no disagreement.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cdesk import lockfile
from cdesk.config import (
    Settings,
    folder_file_values,
    folder_values,
    told_values,
    with_folder_values,
)
from cdesk.disk import sync
from cdesk.errors import ConfigError, reason
from cdesk.smallfile import read_small

_log = logging.getLogger(__name__)

_MAX_KEPT_BYTES: Final = 1_000_000
_NAMES_THE_STREAM: Final = ("warehouse", "schema")


def settle(settings: Settings) -> Settings:
    """The settings with the folder's own in place of what this process was told otherwise.

    The folder's are those that `cdesk.toml` names, for the rest those that are kept, and for what
    is not kept yet those of this process, which are kept from now on. What is overruled is logged.

    Raises:
        ConfigError: `cdesk.toml` or what is kept cannot be read.
        LockHeld: another program holds `settings.lock`.
        OSError: what is to be kept cannot be written.
    """
    settled = _settle(settings)
    for difference in differences(settings):
        _log.warning("%s", difference)
    return settled


def in_force(settings: Settings) -> Settings:
    """The settings that a process which came now would work with, as `settle`; changes nothing.

    Raises:
        ConfigError: as `settle`.
    """
    return with_folder_values(settings, _kept(settings) | folder_file_values(settings))


def differences(settings: Settings, told: Mapping[str, str] | None = None) -> list[str]:
    """What a process was told otherwise than its folder, each in words for a person: what is used,
    and how to change it.

    Args:
        told: what another process was told, by name; this one's own when left out.

    Raises:
        ConfigError: as `settle`.
    """
    told = told_values(settings) if told is None else told
    named = folder_file_values(settings)
    file = settings.settings_path
    theirs = with_folder_values(settings, told)
    texts = folder_values(theirs)
    found: list[str] = []
    for name, value in (_kept(settings) | named).items():
        if name not in told or texts[name] == value:
            continue
        heard = f"this process was told {texts[name] or 'none'}, which is not used"
        if name in named:
            found.append(f"{name}: {file} says {value or 'none'}, {heard}; change it there")
        else:
            line = f"{name} = {_literal(getattr(theirs, name))}"
            found.append(
                f"{name}: this folder's is {value or 'none'}, {heard}; to change it for all, "
                f"write {line} into {file}"
            )
    return found


class FolderWatch:
    """Notices when a folder's settings change under a process that lives."""

    def __init__(self, settings: Settings) -> None:
        """Takes the settings as they were settled."""
        self.settings = settings
        """Those in force at the last look."""
        self._marks: tuple[object, ...] | None = None

    def look(self) -> bool:
        """Whether they are others than at the last look; while no file changed it costs two calls
        of the system. Where what is kept was lost, it is kept again.

        Raises:
            ConfigError, LockHeld, OSError: as `settle`, at every look until it is mended; the
                settings stay as they were.
        """
        folder = self.settings.data_dir
        marks = (_mark(self.settings.settings_path), _mark(_kept_path(folder)))
        if marks == self._marks:
            return False
        before, self.settings = self.settings, _settle(self.settings)
        self._marks = marks
        return self.settings != before


def _settle(settings: Settings) -> Settings:
    with lockfile.take(settings.data_dir / "settings.lock"):
        kept = _kept(settings)
        settled = folder_values(settings) | kept | folder_file_values(settings)
        if settled != kept:
            _keep(settings.data_dir, settled)
            for name in _NAMES_THE_STREAM:
                if kept.get(name, settled[name]) != settled[name]:
                    _log.warning(
                        "%s is %s from now on, not %s: the stream and the memory there are others; "
                        "what was recorded stays where it is",
                        name,
                        settled[name],
                        kept[name],
                    )
    return with_folder_values(settings, settled)


def _kept_path(folder: Path) -> Path:
    return folder / "settings.json"


def _kept(settings: Settings) -> dict[str, str]:
    path = _kept_path(settings.data_dir)
    try:
        kept = json.loads(read_small(path, _MAX_KEPT_BYTES))
        if not isinstance(kept, dict):
            raise ValueError("it is no JSON object")
        values = folder_values(with_folder_values(settings, kept))
        return {name: values[name] for name in kept if name in values}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise ConfigError(
            f"{path} cannot be read: {why}; mend or remove it: then the settings of the process "
            "that comes next are kept"
        ) from error


def _keep(folder: Path, settled: Mapping[str, str]) -> None:
    """Whole or not at all, also when the power fails."""
    path = _kept_path(folder)
    arriving = path.with_name(f".{path.name}.part")
    text = json.dumps(settled, indent=2) + "\n"
    try:
        descriptor = os.open(
            arriving,
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        arriving.replace(path)
    except OSError:
        with suppress(OSError):
            arriving.unlink()
        raise
    sync(folder)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What differs when a file was written or replaced; `None` while there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _literal(value: object) -> str:
    """A setting's value as `cdesk.toml` spells it."""
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps("" if value is None else str(value), ensure_ascii=False)
