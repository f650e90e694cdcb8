"""Settings: their sources, their precedence and what is refused."""

from __future__ import annotations

import getpass
import json
import os
import re
import stat
import tomllib
import uuid
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import cdesk_core
import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.cli.status import read_status
from cdesk.config import (
    FOLDER_SETTINGS,
    MAX_DATA_DIR_BYTES,
    Settings,
    folder_file_values,
    inherited_environment,
    load,
)
from cdesk.errors import ConfigError
from cdesk.folder_settings import in_force
from cdesk.smallfile import parsed_toml
from cdesk.state import State

# for each field two or more values that differ from its default
VALUES: dict[str, tuple[Any, ...]] = {
    "data_dir": ("/srv/a", "/srv/b"),
    "customer": ("acme", "globex", "initech"),
    "warehouse": ("duckdb",),
    "database": ("A", "B_2", "c"),
    "schema": ("S", "T_2", "u"),
    "log_level": ("debug", "warning", "error"),
    "templates_dir": ("/srv/templates", "/srv/own", "/srv/other"),
    "byte_cap": (1, 2_000, 10**18),
    "statement_timeout_s": (0.1, 5, 3600.0),
    "queries_per_minute": (1, 7, 100_000),
    "memory_cap": (100_000_000, 10**9 + 1, 10**15),
    "worker_grace_s": (0, 0.5, 86_400),
    "segment_grace_s": (0, 1.5, 31_536_000),
}
NAMES = {field.name for field in fields(Settings) if field.compare}
README = Path(__file__).parents[1] / "README.md"
CHOSEN = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(values) for name, values in VALUES.items()},
)


def write_toml(folder: Path, settings: dict[str, Any]) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (folder / "cdesk.toml").write_text("\n".join(lines))


def as_environment(settings: dict[str, Any]) -> dict[str, str]:
    return {f"CDESK_{key.upper()}": str(value) for key, value in settings.items()}


def test_the_values_of_these_tests_cover_every_setting() -> None:
    assert VALUES.keys() == NAMES


@given(in_file=CHOSEN, in_environment=CHOSEN, in_flags=CHOSEN)
def test_flags_win_over_the_environment_over_the_file_over_the_defaults(
    tmp_path_factory: pytest.TempPathFactory,
    in_file: dict[str, Any],
    in_environment: dict[str, Any],
    in_flags: dict[str, Any],
) -> None:
    folder = tmp_path_factory.mktemp("data")
    in_file.pop("data_dir", None)  # the file is in that folder
    in_environment["data_dir"] = in_flags["data_dir"] = str(folder)
    write_toml(folder, in_file)
    defaults = {"customer": getpass.getuser()} | {
        field.name: field.default
        for field in fields(Settings)
        if field.name in NAMES - {"data_dir", "customer"}
    }
    expected = defaults | in_file | in_environment | in_flags
    found = load(in_flags, environment=as_environment(in_environment))
    for name, value in expected.items():
        is_path = name in {"data_dir", "templates_dir"} and value is not None
        assert getattr(found, name) == (Path(value) if is_path else value), name


def test_the_data_folder_is_the_flags_then_the_environments_then_the_platforms() -> None:
    environment = {"CDESK_DATA_DIR": "/srv/environment"}
    assert load({"data_dir": "/srv/flag"}, environment=environment).data_dir == Path("/srv/flag")
    assert load({"data_dir": None}, environment=environment).data_dir == Path("/srv/environment")
    platforms = platformdirs.user_data_path("cdesk", appauthor=False)
    assert load(environment={}).data_dir == platforms


@given(CHOSEN)
def test_a_child_process_sees_the_same_settings(chosen: dict[str, Any]) -> None:
    chosen["data_dir"] = "/srv/none"
    settings = load(chosen, environment={})
    assert load(environment=inherited_environment(settings)) == settings


def test_a_child_process_keeps_the_rest_of_the_environment_and_no_old_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CDESK_TEMPLATES_DIR", "/srv/old")
    monkeypatch.setenv("LC_TEST", "kept")
    child = inherited_environment(load(environment={"CDESK_DATA_DIR": "/srv/none"}))
    assert child["LC_TEST"] == "kept"
    assert "CDESK_TEMPLATES_DIR" not in child


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("customer", ""), ("customer", " "), ("customer", "a\nb"), ("customer", "c" * 256),
        ("customer", 7), ("customer", "\ud800"),
        ("warehouse", "oracle"), ("warehouse", ""), ("warehouse", 1),
        ("database", ""), ("database", "a-b"), ("database", 'x"; DROP'), ("database", "1a"),
        ("database", "a\n"), ("database", "a" * 256), ("schema", "a.b"),
        ("schema", "temp"), ("schema", "PG_CATALOG"),
        ("schema", "Warehouse"), ("schema", "information_schema"),
        ("log_level", "loud"), ("log_level", 10),
        ("templates_dir", 5), ("templates_dir", "~no_such_user/x"),
        ("byte_cap", 0), ("byte_cap", "many"), ("byte_cap", True), ("byte_cap", 1.5),
        ("byte_cap", float("inf")), ("byte_cap", float("nan")), ("byte_cap", 10**400),
        ("statement_timeout_s", 0), ("statement_timeout_s", 3601), ("statement_timeout_s", "nan"),
        ("statement_timeout_s", 10**400), ("queries_per_minute", 0), ("queries_per_minute", "1.5"),
        ("worker_grace_s", -1), ("worker_grace_s", [1]), ("segment_grace_s", "inf"),
        ("colour", "red"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_key_and_its_source(
    tmp_path: Path, key: str, value: Any
) -> None:
    folder = {"CDESK_DATA_DIR": str(tmp_path)}
    option = f"--{key.replace('_', '-')}"
    with pytest.raises(ConfigError, match=rf"^{option}: .*\(from the command line\)"):
        load({key: value}, environment=folder)
    if isinstance(value, str) and key in VALUES:
        name = f"CDESK_{key.upper()}"
        with pytest.raises(ConfigError, match=rf"^{name}: .*\(from the environment\)$"):
            load(environment=folder | {f"CDESK_{key.upper()}": value})


@pytest.mark.parametrize("line", ["byte_cap = 1.5", "byte_cap = inf", "log_level = 'loud'"])
def test_a_wrong_value_in_the_file_is_refused_with_its_key_and_the_files_path(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "cdesk.toml").write_text(line)
    source = re.escape(str(tmp_path / "cdesk.toml"))
    with pytest.raises(ConfigError, match=rf"^{line.split()[0]}: must be .*\(from {source}\)$"):
        load({"data_dir": tmp_path}, environment={})


NUMBERS = {name for name, values in VALUES.items() if not isinstance(values[0], str)}


@pytest.mark.parametrize("key", sorted(VALUES.keys() - {"data_dir"}))
def test_a_value_of_the_wrong_type_in_the_file_is_refused_also_where_its_text_would_do(
    tmp_path: Path, key: str
) -> None:
    """`byte_cap = "10"` was taken for the number, though docs/settings.md says otherwise."""
    value = VALUES[key][0]
    write_toml(tmp_path, {key: value})
    settings = load({"data_dir": tmp_path}, environment={})
    write_toml(tmp_path, {key: str(value) if key in NUMBERS else 1})
    source = re.escape(str(tmp_path / "cdesk.toml"))
    with pytest.raises(ConfigError, match=rf"^{key}: must be .* \(from {source}\)$"):
        load({"data_dir": tmp_path}, environment={})
    if key in FOLDER_SETTINGS:
        with pytest.raises(ConfigError, match=rf"^{key}: must be .* \(from {source}\)$"):
            folder_file_values(settings)
    (tmp_path / "cdesk.toml").unlink()
    assert load(environment=as_environment({"data_dir": tmp_path, key: value})) == settings


@pytest.mark.parametrize("name", ["CDESK_CUSTMER", "CDESK_METRICSX", "CDESK_"])
def test_an_unknown_name_in_the_environment_is_refused_and_never_overlooked(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{name}: no such setting \(from the environment\)"
    ) as refused:
        load(environment={"CDESK_DATA_DIR": "/srv/none", name: "acme"})
    assert all(f"CDESK_{known.upper()}" in str(refused.value) for known in NAMES)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('warehouse = "snowflake"', "snowflake is not in this version; leave it out or say duckdb"),
        ('warehouse = "Snowflake"', "snowflake is not in this version; leave it out or say duckdb"),
        ('warehouse = "oracle"', "must be duckdb"),
        ('connection = "prod"', "Snowflake as the warehouse is not in this version"),
        ('snowflake_account = "a"', "Snowflake as the warehouse is not in this version"),
        ("renderer_port = 80", "the web renderer is not in this version"),
        ("metrics = true", "metrics are not in this version"),
        ("retention_days = 3", "retention is not in this version"),
    ],
)
def test_a_setting_that_asks_for_what_is_not_in_this_version_is_told_so(
    tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "cdesk.toml"
    file.write_text(line)
    key = line.split()[0]
    with pytest.raises(ConfigError, match=rf"^{key}: {told} \(from {re.escape(str(file))}\)"):
        load({"data_dir": tmp_path}, environment={})
    name, value = f"CDESK_{key.upper()}", line.split()[-1].strip('"')
    with pytest.raises(ConfigError, match=rf"^{name}: {told} \(from the environment\)"):
        load(environment={name: value, "CDESK_DATA_DIR": "/srv/none"})
    assert f"`{key.partition('_')[0]}" in README.read_text()


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "cdesk.toml").write_text('custmer = "acme"\n')
    with pytest.raises(ConfigError, match="custmer: no such setting") as refused:
        load({"data_dir": tmp_path}, environment={})
    known = NAMES - {"data_dir"}  # which is refused there
    assert set(str(refused.value).partition("known settings: ")[2].split(", ")) == known
    assert str(tmp_path / "cdesk.toml") in str(refused.value)


@pytest.mark.parametrize("content", [b"customer = ", b"\x00", b'customer = "\xe9"', b"[a]\n[a]"])
def test_a_malformed_file_is_refused_with_its_path_and_the_next_move(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "cdesk.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))} cannot .*; mend or remove it"):
        load({"data_dir": tmp_path}, environment={})


def test_the_file_cannot_move_the_folder_it_is_in(tmp_path: Path) -> None:
    write_toml(tmp_path, {"data_dir": "/srv/a"})
    with pytest.raises(ConfigError, match="data_dir cannot be set here; use CDESK_DATA_DIR"):
        load({"data_dir": tmp_path}, environment={})


def test_paths_may_begin_with_a_tilde_and_become_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/somebody")
    found = load({"templates_dir": "own"}, environment={"CDESK_DATA_DIR": "~/cdesk"})
    assert found.data_dir == Path("/srv/somebody/cdesk")
    assert found.templates_dir == Path.cwd() / "own"


@pytest.mark.parametrize("folder", ["", "~no_such_user/x"])
def test_a_wrong_data_folder_is_refused_by_its_key(folder: str) -> None:
    with pytest.raises(ConfigError, match=r"^CDESK_DATA_DIR: must be a path"):
        load(environment={"CDESK_DATA_DIR": folder})


def test_a_user_without_a_name_is_the_customer_local(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert load(environment={"CDESK_DATA_DIR": "/srv/none"}).customer == "local"


def test_settings_are_frozen() -> None:
    settings = Settings(data_dir=Path("/srv/a"), customer="acme")
    with pytest.raises(FrozenInstanceError):
        settings.customer = "globex"  # type: ignore[misc]


def test_everything_is_in_the_data_folder() -> None:
    settings = Settings(data_dir=Path("/srv/a"), customer="acme")
    assert {
        settings.queue_dir.name, settings.state_path.name, settings.artifacts_dir.name,
        settings.warehouse_path.name, settings.worker_log_path.name,
    } == {"queue", "state.db", "artifacts", "warehouse.duckdb", "worker.log"}  # fmt: skip
    assert settings.queue_dir.parent == settings.state_path.parent == settings.data_dir


def test_folders_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "data", customer="acme")
    before = os.umask(0)
    try:
        settings.create_folders()
        settings.create_folders()
    finally:
        os.umask(before)
    for folder in (settings.data_dir, settings.queue_dir, settings.artifacts_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_data_folder_that_is_a_file_is_refused_with_the_next_move(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    settings = Settings(data_dir=tmp_path / "data", customer="acme")
    with pytest.raises(ConfigError, match=r"data_dir: .* cannot be created .*; set CDESK_DATA_DIR"):
        settings.create_folders()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_data_folder_that_is_a_file_is_not_called_a_cdesk_toml_to_be_removed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match=rf"^data_dir: {tmp_path / name} is no folder; set CDESK"):
        load({"data_dir": tmp_path / name}, environment={})


@pytest.mark.parametrize("name", ["cdesk.toml", "settings.json"])
def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(name)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels") as refused:
        in_force(load({"data_dir": tmp_path}, environment={}))
    assert str(refused.value).count(name) == 1


def test_a_folder_that_others_may_read_is_tightened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path / "data", customer="acme")
    folders = (settings.data_dir, settings.queue_dir, settings.artifacts_dir)
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o755)
    settings.create_folders()
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert len(caplog.messages) == 3
    settings.create_folders()
    assert len(caplog.messages) == 3


USES: tuple[Callable[[Settings], object], ...] = (Settings.create_folders, read_status)
"""`cdesk status` told of a folder as of any other that every command refused."""


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722])
@pytest.mark.parametrize("name", ["data", "data/queue", "data/artifacts"])
def test_a_folder_that_others_may_write_is_refused_and_left_as_it_is(
    tmp_path: Path, name: str, mode: int
) -> None:
    settings = Settings(data_dir=tmp_path / "data", customer="acme")
    settings.create_folders()
    (tmp_path / name).chmod(mode)
    for use in USES:
        with pytest.raises(ConfigError, match=rf"others may write to {tmp_path / name} .*; look"):
            use(settings)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.mark.parametrize("name", ["data", "data/queue", "data/artifacts"])
def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", customer="acme")
    settings.create_folders()
    (tmp_path / name).rename(tmp_path / "elsewhere")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    for use in USES:
        with pytest.raises(ConfigError, match="a link is refused"):
            use(settings)


def test_looking_at_a_folder_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path / "data", customer="acme")
    settings.look_at_folders()
    assert not settings.data_dir.exists()
    settings.create_folders()
    settings.data_dir.chmod(0o755)
    read_status(settings)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o755
    assert caplog.messages == []


def data_dir_of(folder: Path, length: int) -> Path:
    """A path of so many bytes below a folder, in letters that are nine characters of a link."""
    rest = length - len(os.fsencode(folder))
    for _ in range(2):
        folder /= "\u65e5" * 30
        rest -= 91
    return folder / "/".join("d" * 50 for _ in range((rest - 1) // 51)) / ("d" * ((rest - 1) % 51))


def test_a_data_folder_whose_path_is_too_long_to_open_files_in_is_refused_with_the_limit(
    tmp_path: Path,
) -> None:
    """SQLite said of it `cannot be opened`, and cdesk to mend the permissions."""
    too_long = data_dir_of(tmp_path, MAX_DATA_DIR_BYTES + 1)
    assert len(os.fsencode(too_long)) == MAX_DATA_DIR_BYTES + 1
    for name, flags, environment in (
        ("--data-dir", {"data_dir": too_long}, {}),
        ("CDESK_DATA_DIR", {}, {"CDESK_DATA_DIR": str(too_long)}),
    ):
        with pytest.raises(ConfigError, match=f"^{name}: must be a path of at most 480 bytes"):
            load(flags, environment=environment)


def test_in_the_longest_data_folder_a_store_opens_and_a_link_has_room(tmp_path: Path) -> None:
    longest = data_dir_of(tmp_path, MAX_DATA_DIR_BYTES)
    settings = load({"data_dir": longest}, environment={})
    settings.create_folders()
    with State(settings.state_path) as state:
        state.set_flag("any", "write", 1.0)
        assert set(state.flags()) == {"any"}
    result = f"{uuid.UUID(int=0)}.parquet"
    widest = Path("/" + "\u65e5" * ((MAX_DATA_DIR_BYTES - 1) // 3))
    for folder in (longest, widest):
        artifacts = Settings(data_dir=folder, customer="acme").artifacts_dir
        assert len((artifacts / result).as_uri()) <= cdesk_core.MAX_LINK_CHARS


def test_a_home_whose_name_is_not_utf_8_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / os.fsdecode(b"h\xff")))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"data_dir: must be a path in UTF-8.*CDESK_DATA_DIR"):
        load(environment={})
    assert load({"data_dir": tmp_path}, environment={}).data_dir == tmp_path


@pytest.mark.parametrize("name", [os.fsdecode(b"j\xfcrgen"), "a\nb", "x" * 256])
def test_a_system_user_whose_name_is_no_customer_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LOGNAME", name)
    given = {"CDESK_DATA_DIR": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"customer: must be a printable text.*CDESK_CUSTOMER"):
        load(environment=given)
    assert load(environment=given | {"CDESK_CUSTOMER": "acme"}).customer == "acme"
    (tmp_path / "cdesk.toml").write_text('customer = "globex"')
    assert load(environment=given).customer == "globex"


def test_a_data_folder_that_a_link_makes_too_long_for_sqlite_is_refused(tmp_path: Path) -> None:
    longer = data_dir_of(tmp_path, MAX_DATA_DIR_BYTES + 1)
    link = tmp_path / "link"
    link.symlink_to(longer.parent)
    with pytest.raises(ConfigError, match=f"--data-dir: .*{MAX_DATA_DIR_BYTES} bytes"):
        load({"data_dir": link / longer.name})


HOSTILE_TOML = {
    "a key of many parts": ".".join("a" * 20_000) + " = 1",
    "a table of many parts": "[" + " . ".join("a" * 10_000) + "]",
    "too long": "#" * 65_537,
    "nested deeply": "a = " + "[" * 20_000,
}


@pytest.mark.timeout(5)
@pytest.mark.parametrize("what", HOSTILE_TOML)
def test_a_cdesk_toml_made_to_be_slow_is_refused_at_once(tmp_path: Path, what: str) -> None:
    (tmp_path / "cdesk.toml").write_text(HOSTILE_TOML[what])
    with pytest.raises(ConfigError, match=r"cdesk\.toml cannot be read"):
        load({"data_dir": tmp_path})


@given(st.lists(st.text("ab.\"'#\\ =[]{},\n", max_size=30), max_size=5).map("".join))
def test_toml_is_read_as_the_standard_library_reads_it(text: str) -> None:
    def read(parse: Callable[[str], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return parse(text)
        except ValueError:
            return None

    assert read(parsed_toml) == read(tomllib.loads)


def test_a_folder_of_other_things_is_refused_and_not_closed_to_others(tmp_path: Path) -> None:
    """`--data-dir /etc` made /etc readable by root alone."""
    folder = tmp_path / "project"
    folder.mkdir(mode=0o755)
    (folder / "file.txt").write_text("hi")
    with pytest.raises(ConfigError, match="holds nothing of cdesk's"):
        Settings(data_dir=folder, customer="acme").create_folders()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in folder.iterdir()] == ["file.txt"]
    (folder / "cdesk.toml").write_text("")
    Settings(data_dir=folder, customer="acme").create_folders()
    assert folder.stat().st_mode & 0o777 == 0o700
