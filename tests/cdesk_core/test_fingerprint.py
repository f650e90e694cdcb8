"""The query hash."""

import enum
import hashlib
import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import cdesk_core
import pytest
from cdesk_core import query_hash
from hypothesis import given
from hypothesis import strategies as st


class Grain(enum.StrEnum):
    DAY = "day"


def test_flat_parameters_hash_as_json_stringify_with_sorted_keys_does() -> None:
    # node: createHash("sha256").update(template + JSON.stringify(p, Object.keys(p).sort()))
    assert (
        query_hash("SELECT *\n  FROM events  ", {"limit": 10, "customer": "acme"})
        == "f5c10a021c177560"
    )


def test_spelling_that_does_not_matter_does_not_matter() -> None:
    expected = query_hash("a b", {"x": 1, "y": [2.0, None, True]})
    assert query_hash("\ufeff a\u2028\tb ", {"y": (2, None, True), "x": 1.0}) == expected
    assert query_hash("a b", MappingProxyType(OrderedDict(y=[2, None, True], x=1))) == expected
    assert query_hash("a\u0085b", {}) != query_hash(
        "a b", {}
    )  # U+0085 is no white space to JavaScript
    assert query_hash("t", {"grain": Grain.DAY}) == query_hash("t", {"grain": "day"})
    assert query_hash("t", {"x": True}) != query_hash("t", {"x": 1})


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"a": [1, {"b/c": float("nan")}]}, "/a/1/b~1c"),
        ({"a": float("inf")}, "/a"),
        ({"a": 2**53 + 1}, "/a"),
        ({"a": -(2**200)}, "/a"),
        ({"a": b"bytes"}, "/a"),
        ({"a": {1, 2}}, "/a"),
        ({"a": {1: 2}}, "/a"),
        ({"a": "\ud800"}, "/a"),
        ({"\udfff": 1}, "the top level"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(
    params: dict[Any, Any], place: str
) -> None:
    with pytest.raises(cdesk_core.CanonicalisationError, match=f"at {place}: ") as caught:
        query_hash("t", params)
    assert isinstance(caught.value, ValueError)


def test_a_list_inside_itself_is_refused_and_not_followed_for_ever() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(cdesk_core.CanonicalisationError, match="128 levels"):
        query_hash("t", {"a": endless})


def test_parameters_are_a_mapping() -> None:
    for wrong in ([], None, "{}", 1):
        with pytest.raises(TypeError):
            query_hash("t", wrong)  # type: ignore[arg-type]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(max_codepoint=0xD7FF)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('abcé\n"', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text('abcé\n"', max_size=3), values, max_size=4))
def test_without_floats_it_is_what_pythons_own_json_gives(params: dict[str, Any]) -> None:
    # Code points sort as UTF-16 code units do, below the surrogates.
    canonical = json.dumps(params, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert query_hash("", params) == hashlib.sha256(canonical.encode()).hexdigest()[:16]
