"""What becomes of a question that may read more than its cap, and what it is told to do."""

from __future__ import annotations

import re
from typing import Any

from cdesk.query.ticket import TicketState
from tests.contract.stream import batch, event, rows, store
from tests.query.test_runner import Bench
from tests.query.test_runner import bench as bench  # a fixture


def test_over_its_byte_cap_a_query_runs_on_a_sample_and_says_so(bench: Bench) -> None:
    ticket = bench.submit("activity_statistics", byte_cap=1_000, days=30)
    bench.runner().run_next()
    card = bench.ended(ticket).card
    assert card is not None
    assert card["headline"].startswith("SAMPLE of ")
    assert card["provenance"]["sampled"] is True
    assert 0 < card["provenance"]["sampled_percent"] < 100
    assert rows(bench.warehouse, "SELECT sampled FROM {s}.query_audit") == [(True,)]
    recorded = [one.activity for one in bench.recording.events]
    assert recorded.index("cdesk.sql_sampled") < recorded.index("cdesk.card_rendered")
    times = [one.ts for one in bench.recording.events]
    assert times == sorted(times), "the stream's order is that of the log"


def test_an_empty_sample_never_says_that_there_is_nothing(bench: Bench) -> None:
    ticket = bench.submit("recent_activities", byte_cap=1, activity="cdesk.never_seen")
    bench.runner().run_next()
    card = bench.ended(ticket).card
    assert card is not None
    assert (card["row_count"], card["headline"][:10]) == (0, "SAMPLE of ")
    assert "Nothing has been recorded" not in card["headline"]
    whole = int(card["headline"].partition("a byte_cap of ")[2].split()[0])
    ticket = bench.submit("recent_activities", byte_cap=whole, activity="cdesk.never_seen")
    bench.runner().run_next()
    card = bench.ended(ticket).card
    assert card is not None and card["headline"] == "Nothing has been recorded yet"


def test_over_its_byte_cap_a_query_without_a_sample_is_refused_with_the_cap_that_would_do(
    bench: Bench,
) -> None:
    atom = {"subject": "a", "metric": "b", "value": 1}
    store(bench.warehouse, batch(event(901, 1, "insight_recorded", feature_json=atom)))
    ticket = bench.submit("insights_by_customer", byte_cap=1)
    bench.runner().run_next()
    refused = bench.ended(ticket)
    assert refused.state is TicketState.FAILED
    assert refused.error is not None
    assert "above its byte_cap of 1," in refused.error
    enough = int(refused.error.partition("with a byte_cap of ")[2].split()[0])
    ticket = bench.submit("insights_by_customer", byte_cap=enough)
    bench.runner().run_next()
    card = bench.ended(ticket).card
    assert card is not None
    assert (card["row_count"], card["provenance"]["sampled"]) == (1, False)


def test_a_question_that_may_read_more_than_the_folder_allows_is_told_the_setting_and_its_file(
    bench: Bench,
) -> None:
    """It was told a byte_cap to submit, which was lowered to the folder's again."""
    atom = {"subject": "a", "metric": "b", "value": 1}
    store(bench.warehouse, batch(event(901, 1, "insight_recorded", feature_json=atom)))
    never: dict[str, Any] = {"activity": "cdesk.never_seen"}
    for template, params in (("insights_by_customer", {}), ("recent_activities", never)):
        for folders in (10, 10**9):  # what is less than the folder's is the question's own to raise
            ticket = bench.submit(template, byte_cap=10, **params)
            bench.runner(byte_cap=folders).run_next()
            ended = bench.ended(ticket)
            told = ended.error or (ended.card or {})["headline"]
            assert ("submit it with a byte_cap of" in told) == (folders > 10)
            is_named = "own is 10 now" in told
            assert is_named == (str(bench.settings_path) in told) == (folders == 10)
            (enough,) = re.findall(r"byte_cap (?:=|of) (\d+) or more", told)
            ticket = bench.submit(template, byte_cap=int(enough), **params)
            bench.runner(byte_cap=int(enough)).run_next()
            card = bench.ended(ticket).card
            assert card is not None and not card["provenance"]["sampled"]
