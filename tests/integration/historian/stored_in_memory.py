"""The historian's loop without Kafka: records come from a list, everything else is real. For tests
of what becomes of a record; how records are fetched is tested with a broker."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence

import psycopg
from psycopg.rows import TupleRow

from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, Topic
from aurelian.db import offsets
from aurelian.db.engine import as_role, connect
from aurelian.model import codec
from aurelian.model.record import Partition, Record
from aurelian.model.sample import Sample, SampleBatch, Signal, ValueType, make_batch
from aurelian.runtime.health import Health
from historian import sample_sql
from historian.batch_limit import BatchLimit
from historian.catalog import Catalog
from historian.delivery import BatchStream, Settled
from historian.processor import Historian
from historian.settings import HistorianSettings
from historian.transaction import SERVICE, Owned
from historian.writer import Writer
from tests import oracle

ALL = [SAMPLES, SOURCE_EVENTS, REJECTED, ASSETS]
LOG = "memory"
NOW = oracle.START_US
LINE = "oracle/site/area/line"
_offsets = itertools.count()


class MemorySource:
    """Stands for Kafka's partitions: all are ours."""

    def __init__(self, owned: Mapping[Partition, Owned]) -> None:
        self.owned = dict(owned)
        self.halted: dict[Partition, str] = {}
        self.stopped: dict[Partition, str] = {}
        self.generation = 0

    def stop(self, partition: Partition, reason: str) -> None:
        """Take nothing more of it."""
        self.owned.pop(partition, None)
        self.stopped[partition] = reason

    async def check_ends(self) -> None:
        """There is no lag."""


class MemoryAnnouncer:
    """Keeps what gateways would read on `aurelian.stored.v1`."""

    def __init__(self) -> None:
        self.settled: dict[str, Settled | None] = {}

    def announce(self, streams: Mapping[BatchStream, Settled | None]) -> None:
        """Keep the newest state of each."""
        self.settled |= {stream.key: settled for stream, settled in streams.items()}


class Store:
    """A historian over a database; `put` returns when all records are stored."""

    def __init__(
        self, historian: Historian, source: MemorySource, announcer: MemoryAnnouncer, url: str
    ) -> None:
        self.historian, self.source, self.announced = historian, source, announcer.settled
        self._url = url

    async def put(self, *records: Record) -> None:
        """Store records as one fetch brings them."""
        await self.historian.process(self.source, records)  # type: ignore[arg-type]
        await self.historian._flush(self.source)  # type: ignore[arg-type]

    def ask(self, query: str, *arguments: object) -> list[tuple[object, ...]]:
        """Rows of a query, as the owner of the database."""
        with psycopg.connect(self._url, autocommit=True) as conn:
            return conn.execute(query, arguments or None).fetchall()  # type: ignore[arg-type]

    def values(self, name: str) -> list[tuple[object, ...]]:
        """(microseconds after NOW, sub, value, flags) of a signal's numbers and texts."""
        query = " UNION ALL ".join(
            f"SELECT (extract(epoch FROM t.time) * 1000000)::bigint - {NOW} AS at, t.sub, "
            f"to_jsonb(t.value), t.flags FROM historian.{table} AS t JOIN historian.signal AS s "
            "ON s.key = t.signal WHERE s.name = %(name)s"
            for table in ("sample_number", "sample_text")
        )
        with psycopg.connect(self._url) as conn:
            return conn.execute(query + " ORDER BY 1, 2", {"name": name}).fetchall()

    def rejected(self) -> list[tuple[object, ...]]:
        """(class, samples) of each rejected record, in order."""
        return self.ask("SELECT error_class, samples FROM historian.rejected ORDER BY id")


@contextlib.asynccontextmanager
async def open_store(url: str, topics: Sequence[Topic], **settings: object) -> AsyncIterator[Store]:
    """A historian that owns two partitions of each topic."""
    database_url = as_role(url, "historian")
    config = HistorianSettings(database_url=database_url, kafka_bootstrap="nowhere:1", **settings)  # type: ignore[arg-type]
    async with (
        await connect(database_url, autocommit=True, name="historian") as side,
        await connect(database_url, autocommit=True, name="historian writer") as conn,
    ):
        await sample_sql.open_session(conn)
        source = MemorySource(await claim(side, topics))
        catalog, announcer = Catalog(), MemoryAnnouncer()
        limit = BatchLimit(config.commit_samples)
        historian = Historian(
            config,
            Health("historian"),
            side,
            catalog,
            Writer(conn, catalog, LOG, limit, config.transaction_limit_s),
            announcer,  # type: ignore[arg-type]
            LOG,
            limit,
        )
        yield Store(historian, source, announcer, url)


async def claim(
    conn: psycopg.AsyncConnection[TupleRow], topics: Sequence[Topic]
) -> dict[Partition, Owned]:
    """Claim partitions 0 and 1 of each topic."""
    partitions = [Partition(topic.name, number) for topic in topics for number in (0, 1)]
    claims = await offsets.claim(conn, SERVICE, SERVICE, LOG, partitions, {})
    return {p: Owned(each.next_offset, each.epoch) for p, each in claims.items()}


def record(
    topic: Topic,
    value: bytes | None,
    *,
    key: str = LINE,
    partition: int = 0,
    headers: Mapping[str, object] | None = None,
) -> Record:
    """A record as Kafka gives it; headers as text."""
    pairs = tuple((name, str(each).encode()) for name, each in (headers or {}).items())
    return Record(topic.name, partition, next(_offsets), NOW // 1000, key.encode(), value, pairs)


def signal(name: str, kind: ValueType = ValueType.DOUBLE, *, source: str = "src") -> Signal:
    """A signal of the one machine."""
    return Signal(f"id-{name}", "id-unit", f"{LINE}/unit/{name}", kind, "", source, True)


def sample(
    of: Signal | str, value: object, at: int = 0, *, sub: int = 0, received: int | None = None
) -> Sample:
    """A sample `at` microseconds after NOW; a `str` names a signal of doubles."""
    found = signal(of) if isinstance(of, str) else of
    types = {str: ValueType.TEXT, float: ValueType.DOUBLE, int: ValueType.INT64}
    kind = types.get(type(value), found.type)
    received = NOW + at + 1000 if received is None else received
    return Sample(found, value, kind, NOW + at, received, sub=sub)  # type: ignore[arg-type]


def batch(
    *samples: Sample,
    sequence: int = 0,
    gateway: str = "g",
    boot: int = 1,
    owner: str = "oracle",
    line: str = LINE,
) -> SampleBatch:
    """A batch of the line."""
    return make_batch(
        samples, owner=owner, gateway=gateway, boot=boot, sequence=sequence, line=line
    )


def encoded(*samples: Sample, **identity: object) -> bytes:
    """A batch's bytes."""
    return codec.encode(batch(*samples, **identity))  # type: ignore[arg-type]
