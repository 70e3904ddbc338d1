"""The table of SPARKPLUG.md and the tests of the specification's assertions are of one mind."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.mqtt_gateway import test_tck_host
from tests.integration.pilot_factory import test_tck_edge

ASSERTIONS = 299
"""Of Sparkplug 3.0.0."""

_PAGE = Path(test_tck_host.__file__).parents[3] / "services" / "mqtt_gateway" / "SPARKPLUG.md"
_ROW = re.compile(r"^\| `(tck-id-[\w-]+)` \| (tested|not applicable) \| (.*?) ?\|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str]]:
    return _ROW.findall(_PAGE.read_text())


def ids_of(module: object) -> Counter[str]:
    """Ids of a module's parametrized tests."""
    found: Counter[str] = Counter()
    for each in vars(module).values():
        for mark in getattr(each, "pytestmark", ()) if callable(each) else ():
            if mark.name == "parametrize":
                found.update(param.id for param in mark.args[1])
    return found


def test_each_assertion_stands_once() -> None:
    names = [name for name, _, _ in rows()]
    assert len(names) == len(set(names)) == ASSERTIONS
    assert _PAGE.read_text().count("\n| `tck-id-") == ASSERTIONS


def test_what_is_called_tested_has_one_test_of_its_id_and_each_test_a_row() -> None:
    tests = ids_of(test_tck_host) + ids_of(test_tck_edge)
    assert set(tests.values()) == {1}
    assert set(tests) == {name for name, verdict, _ in rows() if verdict == "tested"}


@pytest.mark.parametrize("module", [test_tck_host, test_tck_edge])
def test_the_tests_of_a_module_are_found_at_all(module: object) -> None:
    assert len(ids_of(module)) > 80


def test_what_is_not_tested_has_a_reason() -> None:
    for name, verdict, reason in rows():
        assert bool(reason) is (verdict == "not applicable"), name
