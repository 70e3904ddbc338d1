"""One whole stack for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.whole import Stack, running_stack


# Not of the session: an idle stack takes a third of a core from all tests that come after.
@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """The stack, started and ready, and stopped after the last test here."""
    with running_stack() as opened:
        yield opened
