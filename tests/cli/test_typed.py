"""What a person types: read as it is meant, or refused by the name that stands on the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cdesk_core
import pytest

from cdesk.cli import main
from cdesk.cli.log_lines import good_lines
from cdesk.cli.options import as_typed
from cdesk.config import Settings

HASH = ("--hash", "0123456789abcdef")
Run = Callable[..., tuple[Any, str]]


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process, which starts no worker: exit code, stderr."""
    settings.worker_log_path.mkdir()

    def run(*arguments: str) -> tuple[Any, str]:
        with pytest.raises(SystemExit) as exited:
            main(["--data-dir", str(settings.data_dir), *arguments])
        return exited.value.code, " ".join(capsys.readouterr().err.split())

    return run


def recorded(settings: Settings) -> list[Any]:
    """The payloads in the log."""
    views = cdesk_core.inspect(settings.queue_dir)
    return [json.loads(line)["feature_json"] for view in views for line in good_lines(view)]


@pytest.mark.parametrize(
    ("typed", "value"), [("-5", -5), ("-0.5", -0.5), ("-1e3", -1000.0), ("-.5 or so", "-.5 or so")]
)
@pytest.mark.parametrize("dashes", [(), ("--",)])
def test_a_negative_value_needs_no_dashes_before_it(
    run: Run, settings: Settings, typed: str, value: Any, dashes: tuple[str, ...]
) -> None:
    """`cdesk insight orders x -5` was "No such option '-5'"."""
    options = (*HASH, "--confidence", "0.5", "-f", "n=-1", "-fdays=-2")
    assert run("insight", *options, *dashes, "-7", "x", typed)[0] == 0
    if not dashes:
        assert run("insight", "-7", "x", typed, *options)[0] == 0
    for found in recorded(settings):
        assert (found["subject"], found["metric"], found["value"]) == ("-7", "x", value)
        assert (found["confidence"], found["filter"]) == (0.5, {"n": -1, "days": -2})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--hsh", "0123456789abcdef", "-5"), "'--hsh'. Did you mean '--hash'?"),
        (("-5", "-x"), "No such option '-x'"),
        (("-5", "--confidence", "-1", *HASH), "--confidence must be a number from 0 to 1"),
        (("-5", "--hash"), "Option '--hash' requires an argument"),
        (("-5", "-6", *HASH), "unexpected extra argument"),
        (HASH, "Missing argument 'VALUE'"),
    ],
)
def test_what_is_no_negative_number_is_still_an_option(
    run: Run, arguments: tuple[str, ...], told: str
) -> None:
    code, err = run("insight", "orders", "x", *arguments)
    assert code == 2 and told in err


@pytest.mark.parametrize(
    ("arguments", "place", "key"),
    [
        (("event", "cdesk.user_asked", "-p", "a=1", "-p", "a=2"), "-p", "'a' is given twice"),
        (("event", "cdesk.user_asked", "-p", 'a={"b":1,"b":2}'), "-p", "'b' stands twice"),
        (("insight", "o", "n", '{"a":1,"a":2}', *HASH), "VALUE", "'a' stands twice"),
        (("insight", "o", "n", '[{"a":{"b":1,"b":1}}]', *HASH), "VALUE", "'b' stands twice"),
        (("insight", "o", "n", "1", "-f", "r=1", "-f", "r=2", *HASH), "-f", "'r' is given twice"),
        (("insight", "o", "n", "1", "-f", "r", *HASH), "-f", "'r' is not KEY=VALUE"),
        (("query", "tool_usage", "-p", "days=3", "-p", "days=4"), "-p", "'days' is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_by_its_name(
    run: Run, settings: Settings, arguments: tuple[str, ...], place: str, key: str
) -> None:
    """The last one was kept, and nothing said so."""
    code, err = run(*arguments)
    assert code == 2
    assert f"Invalid value for {place}: " in err and key in err
    assert recorded(settings) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("insight", "o", "n", "1", "--hash", "abc"), "cdesk: --hash must be the 16 hex digits"),
        (
            ("insight", "o", "n", "1", "--valid-for", "0", *HASH),
            "cdesk: --valid-for must be from 1",
        ),
        (("insight", "o", "n", "1", "--confidence", "2", *HASH), "cdesk: --confidence must be"),
        (("insight", "o", "n", "1", "-f", f"r={'x' * 500}", *HASH), "cdesk: --filter must be at"),
        (("insight", " ", "n", "1", *HASH), "cdesk: SUBJECT must be a text"),
        (("insight", "o", "n", "null", *HASH), "cdesk: VALUE must not be null"),
        (("insight", "o", "n", "99999999999999999999", *HASH), "cdesk: VALUE must be JSON: its wh"),
        (("event", "user asked"), "cdesk: ACTIVITY is malformed"),
        (("event", "cdesk.user_asked", "-p", "chars=many"), "cdesk: -p chars must be a whole"),
        (("event", "cdesk.user_asked", "-p", "x=NaN"), "cdesk: the payload of all -p must be JSON"),
        (("event", "cdesk.user_asked", "--link", "l" * 2_001), "cdesk: --link must be a text"),
        (("event", "cdesk.user_asked", "--revenue-impact", "x"), "cdesk: --revenue-impact must"),
    ],
)
def test_a_refusal_names_what_stands_on_the_command_line(
    run: Run, arguments: tuple[str, ...], told: str
) -> None:
    """`--hash` was `provenance_query_hash` there, which nobody had typed."""
    code, err = run(*arguments)
    assert code in (2, 65) and err.startswith(told)


def test_the_cap_of_a_question_is_named_as_the_option_and_the_folders_as_the_setting() -> None:
    asked = "it may read 9 bytes, above its byte_cap of 5, of tables that are never sampled; "
    assert as_typed(f"{asked}submit it with a byte_cap of 9 or more") == (
        "it may read 9 bytes, above its --byte-cap of 5, of tables that are never sampled; submit "
        "it with a --byte-cap of 9 or more"
    )
    assert "write byte_cap = 9 or more into" in as_typed("write byte_cap = 9 or more into a file")


def stamps(settings: Settings) -> list[str]:
    """The times of the events in the log."""
    views = cdesk_core.inspect(settings.queue_dir)
    return [json.loads(line)["ts"] for view in views for line in good_lines(view)]


ONE = "0f8fad5b-d9cb-469f-a165-70867728950e"
RECORDS = [("event", "cdesk.user_asked", "-p", "chars=3"), ("insight", "orders", "n", "5", *HASH)]


@pytest.mark.parametrize("arguments", RECORDS, ids=lambda arguments: arguments[0])
def test_an_id_without_its_time_is_a_usage_error_that_says_why_and_what_to_do(
    run: Run, settings: Settings, arguments: tuple[str, ...]
) -> None:
    code, err = run(*arguments, "--id", ONE)
    assert code == 2
    assert "--id needs --at: an id is of one moment; give the time that was told with it" in err
    assert recorded(settings) == []


@pytest.mark.parametrize("arguments", RECORDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize(
    "at", ["2026-01-02T03:04:05Z", "2026-01-02t03:04:05z", "2026-01-02T04:04:05.000+01:00"]
)
@pytest.mark.parametrize("given", [(), ("--id", ONE)], ids=["time alone", "time and id"])
def test_what_happened_earlier_is_recorded_at_its_time(
    run: Run, settings: Settings, arguments: tuple[str, ...], at: str, given: tuple[str, ...]
) -> None:
    assert run(*arguments, "--at", at, *given)[0] == 0
    assert stamps(settings) == ["2026-01-02T03:04:05.000000Z"]
    assert recorded(settings)[0].get("valid_from", "2026-01-02T03:04:05+00:00") == (
        "2026-01-02T03:04:05+00:00"
    )


@pytest.mark.parametrize("arguments", RECORDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("yesterday", "'yesterday' is no time, such as 2026-11-21T08:00:00Z"),
        ("2026-02-30T00:00:00Z", "'2026-02-30T00:00:00Z' is no time"),
        ("", "'' is no time"),
        ("2026-11-21T08:00:00", "has no zone: write its time as 2026-11-21T08:00:00Z"),
        ("2026-11-21", "has no zone"),
        ("0001-01-01T00:00:00+01:00", "before the year 1 or after the year 9999 in UTC"),
    ],
)
def test_a_time_that_names_no_moment_is_refused(
    run: Run, settings: Settings, arguments: tuple[str, ...], at: str, told: str
) -> None:
    code, err = run(*arguments, "--at", at)
    assert code == 2
    assert "Invalid value for '--at': " in err and told in err
    assert recorded(settings) == []


def test_an_insight_that_would_hold_for_ever_and_a_day_is_refused_by_its_option(run: Run) -> None:
    code, err = run(*RECORDS[1], "--at", "9999-12-31T23:59:59Z", "--valid-for", "60")
    assert code == 2
    assert err.startswith("cdesk: --valid-for must end before the year 10000")
