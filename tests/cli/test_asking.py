"""`cdesk query` as a person types it: what a parameter's text is read as."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdesk.cli import main
from cdesk.config import Settings, inherited_environment
from cdesk.errors import InvalidArgument, QueryRefused
from cdesk.query.service import QueryService
from cdesk.safesql.catalog import load_catalog
from tests.e2e.talk import make_settings, until_worker_left


@pytest.mark.parametrize(
    ("template", "pair", "value"),
    [
        ("insights_by_subject", "subject=123", "123"),
        ("insights_by_subject", "subject=true", "true"),
        ("insights_by_subject", "subject=null", "null"),
        ("insights_by_subject", 'subject="q"', '"q"'),
        ("insights_by_subject", "subject=a=b", "a=b"),
        ("insights_by_customer", "min_confidence=0.5", 0.5),
        ("tool_usage", "days=30", 30),
        ("tool_usage", "tool=7", "7"),
    ],
)
def test_the_declared_type_of_a_parameter_says_what_its_text_is_read_as(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, template: str, pair: str, value: Any
) -> None:
    """`-p subject=123` was a number, and refused because a subject is a text."""
    assert bound(settings, monkeypatch, template, pair) == value


def test_a_boolean_is_typed_as_json_spells_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_valid_only(text: str) -> Any:
        pairs = ("subject=orders", f"is_valid_only={text}")
        return bound(settings, monkeypatch, "insights_by_subject", *pairs)

    assert (is_valid_only("true"), is_valid_only("false")) == (True, False)
    with pytest.raises(InvalidArgument, match="is_valid_only got a text"):
        is_valid_only("1")


MINE = """/*
name = "mine"
version = 1
purpose = "an operator's own"
row_cap = 10
headline = "{rows} rows"
empty = "none"
*/
SELECT activity FROM events ORDER BY activity
"""


@pytest.mark.slow
def test_a_template_that_is_not_what_it_must_be_is_exit_code_65_whoever_refuses_it(
    tmp_path: Path,
) -> None:
    """What the worker's checker refused was 70, as a query that failed; what the reader did, 65."""
    questions = tmp_path / "questions"
    questions.mkdir()
    settings = replace(make_settings(tmp_path / "data"), templates_dir=questions)
    for old, new, told in (
        ("SELECT activity FROM events ORDER BY activity", "DELETE FROM events", "is a SELECT"),
        ("SELECT activity FROM", "SELECT * FROM", "name the columns"),
        ("FROM events", "FROM secrets", "the table secrets is neither"),
        ("/*", "", "must start with"),
    ):
        (questions / "mine.sql").write_text(MINE.replace(old, new, 1))
        done = subprocess.run(
            [sys.executable, "-m", "cdesk", "query", "mine"],
            env=inherited_environment(settings),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (65, ""), done.stderr
        assert str(questions / "mine.sql") in done.stderr and told in done.stderr
    until_worker_left(settings)


def bound(settings: Settings, monkeypatch: pytest.MonkeyPatch, template: str, *pairs: str) -> Any:
    """The value of the last parameter that the question is asked with."""
    submitted: list[dict[str, Any]] = []

    def submit(self: QueryService, template: str, params: Any, **rest: Any) -> None:
        submitted.append(params)
        raise QueryRefused("not in this test")

    monkeypatch.setattr(QueryService, "submit", submit)
    with pytest.raises(SystemExit):
        options = [part for pair in pairs for part in ("-p", pair)]
        main(["--data-dir", str(settings.data_dir), "query", template, *options])
    asked = load_catalog(settings).get(template).bind(submitted[0])
    return asked[pairs[-1].partition("=")[0]]
