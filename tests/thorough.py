"""How many examples property tests take: `make proof` asks for several times as many."""

from __future__ import annotations

import os

_TIMES = int(os.environ.get("EXAMPLES_TIMES", "1"))


def examples(count: int) -> int:
    """So many in the fast tests, more in the proofs."""
    return count * _TIMES
