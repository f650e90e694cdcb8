"""How long to wait before a failed thing is tried again."""

from __future__ import annotations

import random
from typing import Final

_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 3.0


class Backoff:
    """Delays that double from try to try, with jitter, up to a few seconds."""

    def __init__(self) -> None:
        self._tries = 0

    def next_s(self) -> float:
        """The delay before the next try, in seconds."""
        longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**self._tries)
        self._tries = min(self._tries + 1, 16)
        return random.uniform(longest / 2, longest)  # noqa: S311  # spreads load, hides nothing

    def reset(self) -> None:
        """Forgets the failures: the last try worked."""
        self._tries = 0
