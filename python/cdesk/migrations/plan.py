"""Migration files: their names, their checksums, and which of them a warehouse still needs.

`V###__name.sql` is applied once, in order of numbers, and never edited afterwards.
`R__name.sql` is applied again whenever its bytes change, after every V, in order of names; those
behind a changed one are applied again too, because they may read what it defines.

Invariants: a checksum is the SHA-256 of the file's bytes, taken once when it is read; a warehouse
that has a V which these files lack, or lacks one in between, is refused rather than repaired.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cdesk.errors import SchemaError

_V: Final = re.compile(r"V(?P<version>\d{3,})__(?P<name>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
_R: Final = re.compile(r"R__(?P<name>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration file."""

    version: int | None
    """The number of a V; `None` for an R."""
    name: str
    kind: Literal["V", "R"]
    sql: str
    """The file's text, in Snowflake's dialect."""
    checksum: str
    """SHA-256 of the file's bytes, 64 hex digits."""
    path: Path

    @property
    def key(self) -> str:
        """What `_schema_migrations` knows it by: `V001`, or `R__name`."""
        return f"V{self.version:03d}" if self.version is not None else f"R__{self.name}"


def load_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder in the order they are applied.

    Raises:
        SchemaError: the folder has none, a file's name is no migration's, or a number is taken.
    """
    paths = sorted(folder.glob("*.sql"))
    if not paths:
        raise SchemaError(f"{folder}: holds no migrations; the installation is damaged")
    migrations = [_load(path) for path in paths]
    by_key: dict[str, Migration] = {}
    for migration in migrations:
        first = by_key.setdefault(migration.key, migration)
        if first is not migration:
            raise SchemaError(
                f"{migration.path}: {first.path.name} has that number already; renumber one"
            )
    return sorted(migrations, key=_order)


def plan(migrations: Iterable[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """The migrations that are pending, in the order to apply them.

    Args:
        applied: the checksums of applied migrations by `Migration.key`.

    Raises:
        SchemaError: the warehouse is newer than these files, an applied V was edited or removed, or
            a new V sorts before an applied one.
    """
    ordered = sorted(migrations, key=_order)
    versioned = [migration for migration in ordered if migration.kind == "V"]
    _refuse_unknown(versioned, applied)
    last = max((key for key in applied if key.startswith("V")), key=_number, default=None)
    pending = []
    for migration in versioned:
        checksum = applied.get(migration.key)
        if checksum is None:
            if last is not None and _number(migration.key) < _number(last):
                raise SchemaError(
                    f"{migration.path.name}: the warehouse is past it, at {last}; give the file "
                    "the next free number"
                )
            pending.append(migration)
        elif checksum != migration.checksum:
            raise SchemaError(
                f"{migration.path.name}: was edited after it was applied; restore the file and put "
                "the change into a new migration"
            )
    return pending + _changed([m for m in ordered if m.kind == "R"], applied)


def _load(path: Path) -> Migration:
    raw = path.read_bytes()
    try:
        sql = raw.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: a migration is UTF-8 text") from error
    checksum = hashlib.sha256(raw).hexdigest()
    if found := _V.fullmatch(path.name):
        return Migration(
            version=int(found["version"]),
            name=found["name"],
            kind="V",
            sql=sql,
            checksum=checksum,
            path=path,
        )
    if found := _R.fullmatch(path.name):
        return Migration(
            version=None, name=found["name"], kind="R", sql=sql, checksum=checksum, path=path
        )
    raise SchemaError(f"{path}: is named neither V###__name.sql nor R__name.sql")


def _order(migration: Migration) -> tuple[bool, int, str]:
    return migration.kind == "R", migration.version or 0, migration.name


def _number(key: str) -> int:
    digits = key[1:]
    return int(digits) if digits.isdecimal() else -1


def _refuse_unknown(versioned: Sequence[Migration], applied: Mapping[str, str]) -> None:
    known = {migration.key for migration in versioned}
    newest = max((migration.version or 0 for migration in versioned), default=-1)
    for key in sorted(applied, key=_number):
        if not key.startswith("V") or key in known:
            continue
        if _number(key) > newest:
            raise SchemaError(
                f"the warehouse has migration {key}, which is newer than this version of cdesk; "
                "upgrade cdesk"
            )
        raise SchemaError(
            f"the warehouse has migration {key}, whose file is missing; reinstall cdesk"
        )


def _changed(repeatable: Sequence[Migration], applied: Mapping[str, str]) -> list[Migration]:
    for index, migration in enumerate(repeatable):
        if applied.get(migration.key) != migration.checksum:
            return list(repeatable[index:])
    return []
