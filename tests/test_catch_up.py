"""How a question learns that the warehouse has what was accepted before it."""

from __future__ import annotations

import os
import threading

import pytest

from cdesk.catch_up import CatchUp

LONG_S = 3600.0


@pytest.fixture
def catch_up() -> CatchUp:
    return CatchUp()


def test_an_ask_is_not_answered_by_what_began_before_it(catch_up: CatchUp) -> None:
    before = catch_up.asked
    ask = catch_up.ask()
    catch_up.confirm(before, "p1")  # a batch that was on its way when it was asked
    assert not catch_up.is_confirmed(ask)
    assert not catch_up.has_reached(ask)
    catch_up.confirm(catch_up.asked, "p2")
    catch_up.reach(ask)
    assert catch_up.has_reached(ask)
    assert not catch_up.has_reached(catch_up.ask())


def test_an_ask_that_comes_while_an_earlier_one_is_answered_is_not_answered_with_it(
    catch_up: CatchUp,
) -> None:
    earlier = catch_up.ask()
    later = catch_up.ask()
    catch_up.confirm(earlier, "p")
    catch_up.reach(earlier)
    assert catch_up.has_reached(earlier)
    assert not catch_up.is_confirmed(later)
    assert not catch_up.has_reached(later)


def test_a_sink_is_the_one_that_was_caught_up_where_it_stood_then_and_further_on(
    catch_up: CatchUp,
) -> None:
    assert not catch_up.is_there(None)
    catch_up.confirm(0, "p1")
    catch_up.confirm(0, "p2")
    catch_up.reach(0)
    assert [catch_up.is_there(position) for position in ("p1", "p2", None)] == [False, True, False]
    for number in range(3, 200):
        catch_up.confirm(0, f"p{number}")
    assert catch_up.is_there("p199")
    assert catch_up.is_there("p100")
    assert not catch_up.is_there("p1")


def test_who_waits_is_woken_by_the_answer_by_the_end_and_by_the_time(catch_up: CatchUp) -> None:
    ask = catch_up.ask()
    catch_up.wait(ask, 0.0, or_until=lambda: False)
    ends = threading.Event()
    waiting = threading.Thread(
        target=catch_up.wait, args=(ask, 60.0), kwargs={"or_until": ends.is_set}
    )
    waiting.start()
    ends.set()
    catch_up.wake()
    waiting.join(30)
    assert not waiting.is_alive()
    waiting = threading.Thread(
        target=catch_up.wait, args=(ask, 60.0), kwargs={"or_until": lambda: False}
    )
    waiting.start()
    catch_up.confirm(ask, "p")
    catch_up.reach(ask)
    waiting.join(30)
    assert not waiting.is_alive()


def waits(catch_up: CatchUp) -> bool:
    return bool(catch_up._changed._waiters)  # type: ignore[attr-defined]


def test_who_ships_gives_way_to_a_question_that_runs_and_not_to_one_that_waits_for_it() -> None:
    """What the last question recorded was shipped beside the next, which took twice as long."""
    catch_up, said = CatchUp(), list[str]()

    def give_way() -> None:
        catch_up.give_way(LONG_S)
        said.append("went on")

    catch_up.give_way(LONG_S)  # nobody asks
    with catch_up.answering():
        asked = catch_up.ask()
        catch_up.give_way(LONG_S)  # it waits for whoever ships
        catch_up.confirm(asked, "1")
        catch_up.reach(asked)
        thread = threading.Thread(target=give_way)
        thread.start()
        while not waits(catch_up):
            os.sched_yield()
        said.append("answered")
    thread.join()
    assert said == ["answered", "went on"]


def test_the_warehouse_stays_open_until_the_question_has_it_open() -> None:
    catch_up, said = CatchUp(), list[str]()

    def hand_over() -> None:
        catch_up.hand_over(LONG_S)
        said.append("closed")

    catch_up.hand_over(LONG_S)  # to nobody
    with catch_up.answering():
        asked = catch_up.ask()
        catch_up.hand_over(LONG_S)  # nor to who waits for more
        catch_up.confirm(asked, "1")
        catch_up.reach(asked)
        thread = threading.Thread(target=hand_over)
        thread.start()
        while not waits(catch_up):
            os.sched_yield()
        said.append("opened")
        catch_up.begin()
        thread.join()
        catch_up.hand_over(LONG_S)
    assert said == ["opened", "closed"]


def test_whoever_ships_is_told_of_each_ask() -> None:
    told: list[str] = []
    catch_up = CatchUp(tell=lambda: told.append("asked"))
    catch_up.ask()
    catch_up.ask()
    assert told == ["asked", "asked"]
