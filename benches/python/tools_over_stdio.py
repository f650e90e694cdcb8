"""Times every tool of a real `cdesk serve` over stdio, beside the service levels.

    python benches/python/tools_over_stdio.py [--calls 500] [--rounds 3]

The client is a bare JSON-RPC one, so that the figures are the server's and the pipe's. A baseline
server of the SDK alone (the same tool name, no work, the SDK's own transport, which cdesk does not
use) runs in the same rounds, interleaved. Prints medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import described, write_section

SERVICE_LEVELS_MS = {
    "log_event": 10.0,
    "log_insight": 10.0,
    "get_context": 25.0,
    "submit_query": 50.0,
    "card": 8000.0,
}

BASELINE = """
import asyncio
from mcp.server import MCPServer
server = MCPServer("baseline")
@server.tool()
def log_event(activity: str, feature_json: dict) -> dict:
    return {"activity_id": "0"}
asyncio.run(server.run_stdio_async())
"""


class Connection:
    """A JSON-RPC client over the pipes of one server."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._number = 0
        self._request(
            "initialize",
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "bench", "version": "1"},
            },
        )
        self.initialize_ms = (time.perf_counter() - began) * 1e3
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        self._process.stdin.flush()

    def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdout is not None
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        while True:
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            if answer.get("id") == self._number:
                return answer

    def call(self, tool: str, arguments: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        """The milliseconds a call took, and its structured result."""
        began = time.perf_counter()
        answer = self._request("tools/call", {"name": tool, "arguments": arguments})
        took_ms = (time.perf_counter() - began) * 1e3
        result = answer.get("result", {})
        if "error" in answer or result.get("isError"):
            raise RuntimeError(f"{tool} failed: {json.dumps(answer)[:300]}")
        return took_ms, result.get("structuredContent") or {}

    def close(self) -> None:
        """Ends the session and waits for the server to leave."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def environment_of(folder: Path, *, customer: str) -> dict[str, str]:
    """What a server of a data folder is started with: its worker leaves as soon as it may."""
    return os.environ | {
        "CDESK_DATA_DIR": str(folder),
        "CDESK_CUSTOMER": customer,
        "CDESK_WORKER_GRACE_S": "0",
        "CDESK_QUERIES_PER_MINUTE": "100000",
    }


def one_round(calls: int) -> dict[str, list[float]]:
    """The milliseconds of every call of one round, by row of the table."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="cdesk-bench-") as folder:
        environment = environment_of(Path(folder), customer="bench")
        baseline = Connection([sys.executable, "-c", BASELINE], environment)
        cdesk = Connection([sys.executable, "-m", "cdesk", "serve"], environment)
        taken["initialize"] = [cdesk.initialize_ms]
        event = {
            "activity": "cdesk.claude_responded",
            "feature_json": {"chars": 512, "model": "claude", "tokens_out": 128, "x": "y" * 120},
        }
        _, ticket = cdesk.call("submit_query", {"template": "health", "params": {}})
        cdesk.call("get_result", {"ticket_id": ticket["ticket_id"], "wait_s": 20})
        insight = {
            "subject": "bench",
            "metric": "m",
            "value": 1,
            "provenance_query_hash": ticket["query_hash"],
        }

        def timed(row: str, connection: Connection, tool: str, arguments: Any) -> None:
            taken.setdefault(row, []).append(connection.call(tool, arguments)[0])

        steps: list[Callable[[], None]] = [
            lambda: timed("SDK alone (no work)", baseline, "log_event", event),
            lambda: timed("log_event", cdesk, "log_event", event),
            lambda: timed("log_insight", cdesk, "log_insight", insight),
            lambda: timed("get_context", cdesk, "get_context", {}),
            lambda: timed("list_templates", cdesk, "list_templates", {"search": "tool"}),
        ]
        for number in range(calls + 50):
            if number == 50:  # what came before was warming up
                taken = {"initialize": taken["initialize"]}
            for step in steps:
                step()
        for _ in range(min(calls, 100)):
            took_ms, ticket = cdesk.call(
                "submit_query", {"template": "activity_statistics", "params": {"days": 30}}
            )
            taken.setdefault("submit_query", []).append(took_ms)
            waited_ms, told = cdesk.call(
                "get_result", {"ticket_id": ticket["ticket_id"], "wait_s": 20}
            )
            if told["state"] != "done":
                raise RuntimeError(f"no card: {told['state']}")
            taken.setdefault("card", []).append(took_ms + waited_ms)
        baseline.close()
        cdesk.close()
        wait_for_worker(Path(folder))
    return taken


def wait_for_worker(folder: Path) -> None:
    """Waits until the worker has left the folder, so that it can be removed."""
    from cdesk import presence

    while presence.is_worker_there(folder):
        time.sleep(0.05)


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500, help="calls of each tool a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are printed")
    options = parser.parse_args()
    rounds = [one_round(options.calls) for _ in range(options.rounds)]
    lines = ["| tool | p50 ms | p95 ms | p99 ms | service level, p95 ms |", "|---|--:|--:|--:|--:|"]
    for row in rounds[0]:
        shares = [
            statistics.median(percentile(found[row], share) for found in rounds)
            for share in (0.5, 0.95, 0.99)
        ]
        level = SERVICE_LEVELS_MS.get(row)
        figures = " | ".join(f"{share:.2f}" for share in shares)
        lines.append(f"| {row} | {figures} | {'' if level is None else f'{level:,.0f}'} |")
    print("\n".join(lines))
    command = f"make bench ({options.rounds} rounds of {options.calls} calls, median of rounds)"
    write_section("Tools over stdio", command, described(tempfile.gettempdir()), lines)


if __name__ == "__main__":
    main()
