"""`cdesk query` as a person types it: what a parameter's text is read as."""

from __future__ import annotations

from typing import Any

import pytest

from cdesk.cli import main
from cdesk.config import Settings
from cdesk.errors import InvalidArgument, QueryRefused
from cdesk.query.service import QueryService
from cdesk.safesql.catalog import load_catalog


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
