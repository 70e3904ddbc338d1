"""What only the long run does: `make test-nightly` sets AURELIAN_LONG_TESTS=1."""

import os

LONG_TESTS = os.environ.get("AURELIAN_LONG_TESTS") == "1"


def seeds(usual: int, long: int) -> range:
    """Seeds 1 to `usual` in the usual run, 1 to `long` in the long one."""
    return range(1, (long if LONG_TESTS else usual) + 1)
