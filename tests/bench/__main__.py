"""`python -m tests.bench [name ...]`: run the benchmarks; called by `make bench`. See README.md
beside this file."""

from __future__ import annotations

import sys

from tests.bench.framework import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
