"""Event loops that wait for the log."""

import asyncio
import gc
import select
import threading
from contextlib import ExitStack
from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import Consumer, Queue
from cdesk_core._cdesk_core import _LoopWake

from .conftest import drain, line


def test_awaited_lines_are_durable_and_share_syncs(queue: Queue, directory: Path) -> None:
    async def main() -> None:
        await asyncio.gather(*[queue.append_async(line(number)) for number in range(1000)])

    asyncio.run(main())
    stats = queue.stats()
    assert (stats.lines, stats.pending_lines) == (1000, 0)
    assert stats.commits < 100
    with Consumer(directory) as consumer:
        assert drain(consumer) == list(range(1000))


def test_one_after_the_other_works_too(queue: Queue) -> None:
    async def main() -> None:
        for number in range(20):
            await queue.append_async(line(number))
            assert queue.stats().lines == number + 1

    asyncio.run(main())


def test_a_bad_line_is_refused_by_the_call(queue: Queue) -> None:
    async def main() -> None:
        with pytest.raises(cdesk_core.InvalidLine):
            queue.append_async(b"[]")

    asyncio.run(main())


def test_outside_of_a_loop_it_is_refused_and_nothing_is_written(queue: Queue) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        queue.append_async(line(0))
    assert queue.stats().pending_lines == 0


def test_what_the_system_refuses_comes_out_of_the_future(directory: Path) -> None:
    async def main() -> None:
        queue = Queue(directory)
        directory.rmdir()
        results = await asyncio.gather(
            *[queue.append_async(line(n)) for n in range(5)], return_exceptions=True
        )
        assert [type(result) for result in results] == [FileNotFoundError] * 5

    asyncio.run(main())


def test_a_cancelled_future_disturbs_nobody(queue: Queue, directory: Path) -> None:
    async def main() -> None:
        futures = [queue.append_async(line(number)) for number in range(10)]
        futures[3].cancel()
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(results[3], asyncio.CancelledError)
        assert [result for n, result in enumerate(results) if n != 3] == [None] * 9

    asyncio.run(main())
    queue.close()
    with Consumer(directory) as consumer:
        assert drain(consumer) == list(
            range(10)
        )  # the line was accepted, so it is durable all the same


def test_two_queues_on_one_loop_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        with Queue(tmp_path / "one") as one, Queue(tmp_path / "two") as two:
            await asyncio.gather(
                *[queue.append_async(line(n)) for n in range(50) for queue in (one, two)]
            )
            assert one.stats().lines == two.stats().lines == 50

    asyncio.run(main())


def test_several_loops_share_one_queue(queue: Queue, directory: Path) -> None:
    async def main(first: int) -> None:
        await asyncio.gather(*[queue.append_async(line(first + number)) for number in range(100)])

    threads = [
        threading.Thread(target=asyncio.run, args=(main(first * 1000),)) for first in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Consumer(directory) as consumer:
        assert len(set(drain(consumer))) == 400


def test_a_queue_that_is_let_go_is_closed_though_its_loop_goes_on(directory: Path) -> None:
    async def main() -> None:
        queue = Queue(directory)
        await queue.append_async(line(0))
        del queue
        assert [view.state for view in cdesk_core.inspect(directory)] == ["sealed"]

    asyncio.run(main())


@pytest.mark.proof
def test_what_is_settled_while_the_descriptor_is_cleared_makes_it_readable_again(
    tmp_path: Path,
) -> None:
    rounds = 200_000
    wake = _LoopWake()
    told = 0

    def look(patience_s: float) -> bool:
        nonlocal told
        is_readable = bool(select.select([wake.fileno()], [], [], patience_s)[0])
        if is_readable:
            wake.clear()
            told += sum(len(futures) for futures, _ in wake.settled())
        return is_readable

    with ExitStack() as stack:
        # Each settles on a thread of its own, now and then between the two steps of clearing.
        paths = [tmp_path / str(number) for number in range(8)]
        queues = [stack.enter_context(Queue(path, durability="os")) for path in paths]
        for number in range(rounds):
            for queue in queues:
                wake.submit(queue, line(number), None)
            look(0)
        while told < 8 * rounds:
            assert look(30), f"{8 * rounds - told} lines wait for ever"


def test_a_loop_that_is_closed_with_lines_pending_leaves_nothing_behind(
    queue: Queue, directory: Path
) -> None:
    from cdesk_core import _asyncio

    for number in range(5):
        loop = asyncio.new_event_loop()

        async def submit(number: int = number) -> None:
            queue.append_async(line(number))

        loop.run_until_complete(submit())
        loop.close()
        del loop
    gc.collect()

    async def last() -> None:
        await queue.append_async(line(5))
        assert len(_asyncio._bridges) == 1

    asyncio.run(last())
    queue.close()
    with Consumer(directory) as consumer:
        assert drain(consumer) == list(range(6))
