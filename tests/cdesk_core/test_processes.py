"""Several processes, some of them killed."""

import os
import platform
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cdesk_core
import pytest
from cdesk_core import Consumer, Lease, QueryTags, Queue

from .conftest import drain, line

# Appends for ever; prints each number once it is acknowledged.
WRITER = """
import os, sys, cdesk_core
queue = cdesk_core.Queue(sys.argv[1], max_segment_bytes=5_000)
number = int(sys.argv[2])
while True:
    queue.append(b'{"id":%d}' % number)
    os.write(1, b'%d\\n' % number)
    number += 1
"""

TAGGER = """
import os, sys, cdesk_core
tags = cdesk_core.QueryTags(sys.argv[1])
while True:
    os.write(1, b'%s\\n' % tags.next().encode())
"""


def start(script: str, *arguments: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def read_lines_then_kill(process: "subprocess.Popen[bytes]", count: int) -> list[bytes]:
    """What it printed, which is at least `count` lines, before SIGKILL met it somewhere."""
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(count)]
    process.send_signal(signal.SIGKILL)
    seen += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    return [text.strip() for text in seen if text.endswith(b"\n")]


def test_what_a_killed_writer_had_acknowledged_is_delivered_once(directory: Path) -> None:
    acknowledged: set[int] = set()
    delivered: Counter[int] = Counter()
    with Consumer(directory) as consumer:
        for life in range(4):
            writers = [start(WRITER, directory, (life * 2 + n) * 1_000_000) for n in range(2)]
            for writer in writers:
                acknowledged |= {int(text) for text in read_lines_then_kill(writer, 40 + 13 * life)}
                delivered.update(drain(consumer))  # the second one is still writing
        delivered.update(drain(consumer))
    assert acknowledged <= delivered.keys()
    assert set(delivered.values()) == {1}
    # One line a writer may have been durable before it could say so.
    assert len(delivered.keys() - acknowledged) <= 8


# Appends a line of the log itself, in a long payload, as a person pastes it; then it is killed.
PASTER = """
import json, os, pathlib, signal, sys, cdesk_core
queue = cdesk_core.Queue(sys.argv[1])
for number in range(5):
    queue.append(json.dumps({'id': number}).encode())
(segment,) = pathlib.Path(sys.argv[1]).glob('*.ndjson')
pasted = json.loads(segment.read_bytes().split(b'\\n')[0])
sys.stdout.write('ready\\n')
sys.stdout.flush()
sys.stdin.readline()
line = {'id': 5, 'pad': 'x' * 9000, 'pasted': pasted}
queue.append(json.dumps(line, separators=(',', ':')).encode())
sys.stdout.write('acknowledged\\n')
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_line_of_the_log_in_a_payload_costs_no_event_when_its_writer_is_killed(
    directory: Path,
) -> None:
    command = [sys.executable, "-c", PASTER, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as paster:
        assert paster.stdout is not None
        assert paster.stdout.readline() == "ready\n"
        with Consumer(directory) as consumer:
            batch = consumer.next_batch(max_lines=1)
            assert batch is not None
            consumer.commit(batch)
        said, _ = paster.communicate("\n")
    assert said == "acknowledged\n"
    with Consumer(directory) as consumer:
        assert consumer.depth() == 5
        consumer.prune(batch.position, min_age_s=0)
        assert drain(consumer) == [1, 2, 3, 4, 5]


def test_killed_processes_never_gave_out_a_tag_twice(directory: Path) -> None:
    tags: list[bytes] = []
    for _ in range(3):
        processes = [start(TAGGER, directory) for _ in range(2)]
        for process in processes:
            tags += read_lines_then_kill(process, 1500)
    assert len(tags) == len(set(tags)) >= 9000


def test_a_lease_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    script = (
        "import os, sys, cdesk_core; lease = cdesk_core.Lease(sys.argv[1]); "
        "os.write(1, b'held\\n'); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(cdesk_core.LeaseHeld):
        Lease(path)
    holder.kill()
    holder.communicate()
    Lease(path).release()
    assert path.exists()


LOCKS = Path("/proc/locks")


def waits_for_a_lock(process: "subprocess.Popen[bytes]") -> bool:
    return bool(re.search(rf"-> FLOCK .* {process.pid} ", LOCKS.read_text()))


@pytest.mark.skipif(not LOCKS.exists(), reason="only Linux tells who waits for a lock")
def test_ctrl_c_ends_the_wait_for_a_lease(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    script = """
import sys, cdesk_core
try:
    cdesk_core.Lease(sys.argv[1], wait=True)
except KeyboardInterrupt:
    print("interrupted")
"""
    with Lease(path):
        waiter = start(script, path)
        while not waits_for_a_lock(waiter):
            assert waiter.poll() is None
        waiter.send_signal(signal.SIGINT)
        assert waiter.communicate()[0] == b"interrupted\n"


def has_to_handle(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Was the process sent a signal that it has not looked at?"""
    status = Path(f"/proc/{process.pid}/status").read_text()
    pending = [int(mask, 16) for mask in re.findall(r"(?:Sig|Shd)Pnd:\s*(\w+)", status)]
    return any(mask >> (number - 1) & 1 for mask in pending)


def has_open(process: "subprocess.Popen[bytes]", path: Path) -> bool:
    with suppress(FileNotFoundError):  # one that was closed meanwhile
        return any(file.resolve() == path for file in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


@pytest.mark.skipif(not LOCKS.exists(), reason="only Linux tells who waits for a lock")
def test_a_signal_does_not_end_the_wait_of_a_consumer_that_registers(directory: Path) -> None:
    script = """
import signal, sys, cdesk_core
signal.signal(signal.SIGUSR1, lambda *_: print('signalled', flush=True))
cdesk_core.Consumer(sys.argv[1])
print('registered')
"""
    directory.mkdir()
    turn = directory / "registry.turn.lock"
    with Lease(turn):
        waiter = start(script, directory)
        while not has_open(waiter, turn):
            assert waiter.poll() is None
        waiter.send_signal(signal.SIGUSR1)
        while has_to_handle(waiter, signal.SIGUSR1):
            assert waiter.poll() is None
    assert waiter.communicate()[0] == b"signalled\nregistered\n"


# Takes a lock with the system's own call, as any program can; says so, and keeps it.
HOLDER = """
import fcntl, signal, sys
file = open(sys.argv[1], 'a')
fcntl.flock(file, fcntl.LOCK_EX)
print('held', flush=True)
signal.pause()
"""


@pytest.mark.proof  # the wait is ten seconds
def test_a_program_that_was_stopped_with_a_lock_holds_nobody_up_for_ever(directory: Path) -> None:
    consumer = Consumer(directory)
    tags = QueryTags(directory)
    turn, counter = directory / "registry.turn.lock", directory / "tags.state.lock"
    holders = [start(HOLDER, path) for path in (turn, counter)]
    for holder in holders:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
    calls = (tags.next, lambda: consumer.seek("1"), lambda: Consumer(directory, "late"))
    with ThreadPoolExecutor(len(calls)) as threads:
        refused = [threads.submit(call) for call in calls]
        for path, future in zip((counter, turn, turn), refused, strict=True):
            with pytest.raises(cdesk_core.LockHeld, match=f"{path} has been held .* for 10 s"):
                future.result()
    for holder in holders:
        holder.kill()
        holder.communicate()
    tags.next()
    consumer.seek("1")


# A fork of which the C library knows nothing.
CLONE = """
import ctypes, os, platform, signal, sys, cdesk_core
tags = cdesk_core.QueryTags(sys.argv[1])
tags.next()
number = {'x86_64': 56, 'aarch64': 220}[platform.machine()]
child = ctypes.CDLL(None).syscall(number, int(signal.SIGCHLD), 0, 0, 0, 0)
if child == 0:
    given = 0
    try:
        while True:
            tags.next()
            given += 1
    except cdesk_core.ForkDetected:
        os.write(1, b'%d' % given)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"},
    reason="the call has another number here",
)
def test_a_fork_of_which_nobody_tells_has_no_tag_but_those_that_are_computed(
    directory: Path,
) -> None:
    child = start(CLONE, directory)
    assert int(child.communicate()[0]) < 32


# The first process of a namespace has number 1, and so has its child in a namespace within.
NESTED = """
import ctypes, os, sys, cdesk_core

NEW_PROCESS_NAMESPACE = 0x20000000

def in_a_namespace_of_its_own(work):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_PROCESS_NAMESPACE):
        print('no namespace:', os.strerror(ctypes.get_errno()), flush=True)
        os._exit(0)
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    os.waitpid(child, 0)

def outer():
    queue = cdesk_core.Queue(sys.argv[1])
    consumer = cdesk_core.Consumer(sys.argv[1])
    queue.append(b'{"id":0}')

    def inner():
        for call in (lambda: queue.append(b'{"id":1}'), consumer.next_batch, queue.roll):
            try:
                call()
            except cdesk_core.ForkDetected:
                print('refused in', os.getpid(), flush=True)
        consumer.close()
        queue.close()

    in_a_namespace_of_its_own(inner)
    queue.append(b'{"id":2}')
    try:
        cdesk_core.Consumer(sys.argv[1])
    except cdesk_core.LeaseHeld:
        print('held in', os.getpid(), flush=True)
    queue.close()

in_a_namespace_of_its_own(outer)
"""


def test_a_fork_is_refused_though_it_has_the_number_of_its_parent(directory: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", NESTED, str(directory)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if said.startswith("no namespace"):
        pytest.skip(f"this process may not make a namespace of processes: {said.strip()}")
    refused = said.count("refused in 1")
    assert (refused, said.count("held in 1")) == (3, 1), said
    with Consumer(directory, "late") as consumer:
        assert drain(consumer) == [0, 2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.timeout(60)
def test_a_fork_in_the_middle_of_a_batch_is_refused_and_does_not_wait_for_it(
    directory: Path,
) -> None:
    with Queue(directory, durability="os") as queue:
        queue.append_many([line(number) for number in range(50_000)])
    with Consumer(directory) as consumer:
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                consumer.next_batch(max_lines=20_000)
                consumer.seek("1")

        reader = threading.Thread(target=read)
        reader.start()
        for call in (consumer.next_batch, consumer.depth, consumer.stats, consumer.close) * 5:
            child = os.fork()
            if child == 0:
                try:
                    call()
                except cdesk_core.ForkDetected:
                    os._exit(1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == (0 if call == consumer.close else 256)
        is_over.set()
        reader.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.timeout(60)
def test_a_fork_in_the_middle_of_an_append_may_ask_what_its_parents_queue_has_done(
    directory: Path,
) -> None:
    lines = [line(number) for number in range(50_000)]
    with Queue(directory, durability="os") as queue:
        is_over = threading.Event()

        def append() -> None:
            while not is_over.is_set():
                queue.append_many(lines)

        writers = [threading.Thread(target=append) for _ in range(2)]
        for writer in writers:
            writer.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(10)  # for one that would wait for ever
                os._exit(queue.stats().pending_lines)
            assert os.waitpid(child, 0)[1] == 0
        is_over.set()
        for writer in writers:
            writer.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_leaves_the_block_of_its_parents_queue_leaves_quietly(directory: Path) -> None:
    with Queue(directory) as queue:
        queue.append(line(0))
        child = os.fork()
        if child == 0:
            try:
                queue.__exit__(None, None, None)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        queue.append(line(1))
    with Consumer(directory) as consumer:
        assert drain(consumer) == [0, 1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_is_refused_with_both_process_ids_and_harms_nobody(
    directory: Path, tmp_path: Path
) -> None:
    queue, consumer, tags = Queue(directory), Consumer(directory), QueryTags(tmp_path / "tags")
    queue.append(line(0))
    tags.next()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for call in (lambda: queue.append(line(1)), queue.close, consumer.next_batch, tags.next):
            try:
                call()
            except cdesk_core.ForkDetected as error:
                said.append(str(error))
        del queue, consumer, tags
        os.write(writing, "\n".join(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reading, 10_000).decode().splitlines()
    os.close(reading)
    os.close(writing)
    assert len(said) == 4
    assert all(str(os.getpid()) in text and str(child) in text for text in said)
    # The parent still has its locks, and goes on.
    with pytest.raises(cdesk_core.LeaseHeld):
        Consumer(directory)
    queue.append(line(1))
    assert drain(consumer) == [0, 1]
    queue.close()
    consumer.close()
