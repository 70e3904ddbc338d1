"""Patterns that choose signals by their path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.globs import PatternError, check_pattern, chosen, matches

CASES = [
    ("Line1/Press/Temp1", "Line1/**/Temp*", True),
    ("Line1/Temp1", "Line1/**/Temp*", True),
    ("Line1/a/b/c/Temperature", "line1/**/temp*", True),
    ("Line10/Press/Temp1", "Line1/**/Temp*", False),
    ("Line1/Press/OilTemp", "Line1/**/Temp*", False),
    ("Line1/Press/Temp1/Unit", "Line1/**/Temp*", False),
    ("Line1/Press/Temp1", "Line1/*/Temp*", True),
    ("Line1/a/Press/Temp1", "Line1/*/Temp*", False),
    ("Line1/Temp1", "Line1/*/Temp*", False),
    ("Line1", "Line1/**", True),
    ("Line1/a/b", "Line1/**", True),
    ("Line12/a", "Line1/**", False),
    ("a/b/c", "**", True),
    ("a/b/c", "*", True),
    ("a/b/c", "c", True),
    ("a/b/c", "b", False),
    ("a/b/Temp1", "Temp?", True),
    ("a/b/Temp12", "Temp?", False),
    ("a/b/Temp", "Temp?", False),
    ("c", "**/c", True),
    ("a/b/c", "**/b/**", True),
    ("a/b/c", "a/**/**/c", True),
    ("a/c", "a/**/**/c", True),
    ("a/b/x/y/d", "a/**/x/**/d", True),
    ("a/b/y/d", "a/**/x/**/d", False),
    ("Line1/Force", "Line{1,2}/{Force,Temp*}", True),
    ("Line2/Temp3", "Line{1,2}/{Force,Temp*}", True),
    ("Line3/Force", "Line{1,2}/{Force,Temp*}", False),
    ("L/ab", "L/{a{b,c},d}", True),
    ("L/ac", "L/{a{b,c},d}", True),
    ("L/d", "L/{a{b,c},d}", True),
    ("L/a", "L/{a{b,c},d}", False),
    ("L/ab", "L/a{,b}", True),
    ("L/a", "L/a{,b}", True),
    ("Halle/Öltemperatur", "halle/öl*", True),
    ("Halle/O\u0308ltemperatur", "halle/öl*", True),
    ("Straße/x", "STRASSE/x", True),
    ("a/b*c", r"a/b\*c", True),
    ("a/bxc", r"a/b\*c", False),
    ("a/b{c}", r"a/b\{c\}", True),
    ("a/b.c", "a/b.c", True),
    ("a/bxc", "a/b.c", False),
    ("a/[1]", "a/[1]", True),
    ("a/1", "a/[1]", False),
    ("a/b\nc", "a/*", True),
    ("/a/b/", "a/b", True),
    ("a/b", "/a/b/", True),
    ("a/b", "", False),
    ("a/xby", "a/x**y", True),
]


@pytest.mark.parametrize(("path", "pattern", "expected"), CASES)
def test_a_pattern_chooses_paths(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


@pytest.mark.parametrize("pattern", ["a/{b", "a/b}", "{a,b", "{a,b,c}" * 12])
def test_a_pattern_that_nobody_can_have_meant_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        check_pattern(pattern)
    with pytest.raises(PatternError):
        matches("a", pattern)


@given(st.lists(st.text("abAB .-()[]+^$|", min_size=1), min_size=1, max_size=5))
def test_a_path_without_signs_of_patterns_chooses_itself_and_all_is_below_its_first_level(
    levels: list[str],
) -> None:
    path = "/".join(levels)
    assert matches(path, "/" + path)
    assert matches(path, f"{levels[0]}/**")
    assert matches(path, "**/" + levels[-1])
    assert not matches(path + "/x", "/" + path)


def test_what_is_excluded_is_not_chosen() -> None:
    assert chosen("Line1/Force", ())
    assert chosen("Line1/Force", ("Line1/**", "Line2/**"))
    assert not chosen("Line1/Force", ("Line1/**",), ("*Force",))
    assert not chosen("Line3/Force", ("Line1/**", "Line2/**"))
