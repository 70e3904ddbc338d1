"""One whole stack for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.whole import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack, started and ready, and stopped at the end."""
    with running_stack() as opened:
        yield opened
