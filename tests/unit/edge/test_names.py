"""Names at their limits, and the texts that no store can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.names import label_fault, path_fault, readable, text_fault


@pytest.mark.parametrize(
    "name",
    ["a", "a" * 200, "ä" * 200, "€" * 200, "filler 1", "Füller", "温度", "a.b-c_d", "\u00a0", "🏭"],
)
def test_a_usual_name_is_kept(name: str) -> None:
    assert path_fault(f"o/s/a/l/{name}") is None


@pytest.mark.parametrize(
    "name",
    ["", "a" * 201, "🏭" * 151, "a\0b", "k\ud800", "\udfff", "a\nb", "\x7f", "\x85", "x" * 20_000],
)
def test_a_name_beyond_the_limits_has_a_fault(name: str) -> None:
    assert path_fault(f"o/s/{name}")


def test_a_path_has_an_end() -> None:
    assert path_fault("/".join(["a" * 150] * 9)) is None
    assert path_fault("/".join(["a" * 150] * 10))
    assert path_fault("/".join(["a"] * 100_000))


@pytest.mark.parametrize("path", ["", "/", "a//b", "/a", "a/"])
def test_no_level_of_a_path_is_empty(path: str) -> None:
    assert path_fault(path)


def test_a_unit_of_measure_may_be_empty() -> None:
    assert label_fault("") is None
    assert label_fault("m/s2") is None
    assert label_fault("C\ud800")
    assert label_fault("x" * 300)


@given(st.text(st.characters(codec=None, categories=None)))
def test_what_passes_fits_the_store_and_what_is_read_back_is_text(text: str) -> None:
    if path_fault(text) is None:
        assert "\0" not in text and 0 < len(text.encode()) <= 1_500
    if text_fault(text) is None:
        assert "\0" not in text and text.encode().decode() == text
    assert text_fault(readable(text)) is None
