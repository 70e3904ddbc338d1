"""The bench of a fold."""

import pytest

from tests.contract.fold.bench import Bench


@pytest.fixture
async def bench(database_url: str, kafka: str) -> Bench:
    bench = Bench(database_url, kafka)
    await bench.make()
    return bench
