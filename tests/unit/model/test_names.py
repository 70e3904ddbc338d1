"""Which names can be kept, and that one that cannot costs itself alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.names import MOST_PATH_BYTES, NameFault, check_paths

GOOD = [
    "temp",
    "with blank",
    "läuft ❤ 运行",
    "e\u0301 and é",
    "'; DROP TABLE x; --",
    "<script>",
    "x" * 200,
    "🏭" * 100,
    "a.b.c",
    "\u202eright to left",
]
REFUSED = {
    "x" * 201: "201 characters",
    "k" * 6_000: "bytes",
    "🏭" * 160: "160 characters",
    "half \ud800": "surrogate",
    "nul\0": "control",
    "bell\a": "control",
    "line\nbreak": "control",
    "a/" * 900 + "a": "bytes",
}


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_name_is_kept(name: str) -> None:
    check_paths(f"company/site/{name}")


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_kept_says_why(name: str) -> None:
    with pytest.raises(NameFault, match=REFUSED[name]):
        check_paths(f"company/site/{name}")


@given(st.text(max_size=400))
def test_what_passes_can_be_stored(name: str) -> None:
    try:
        check_paths(name)
    except NameFault as error:
        str(error).encode()  # can be logged and stored itself
    else:
        assert len(name.encode()) <= MOST_PATH_BYTES and "\0" not in name
