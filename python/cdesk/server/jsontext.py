"""JSON as clients send it: every number as it stands, half characters replaced.

Half a character, as JavaScript sends it where it cut a text, becomes the character that stands for
none, U+FFFD: any other encoder would have sent that.
"""

from __future__ import annotations

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """The value that a text spells.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested more deeply than can be read.
    """
    found = json.loads(text)
    spelled = json.dumps(found, ensure_ascii=False)
    try:
        spelled.encode()
    except UnicodeEncodeError:
        whole = spelled.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return json.loads(whole)
    return found
