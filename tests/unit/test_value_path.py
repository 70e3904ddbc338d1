"""The walk of docs/architecture.md, checked by running it: a value goes from a notification through
the gateway's outbox to the rows of a transaction, and every file that runs is named on the page.

Kafka and the database stand between and behind: their steps are run by the integration tests.
"""

import asyncio
import re
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from aurelian.backbone.topics import SAMPLES
from aurelian.edge.gateway import Delivery, forward
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import OutboxRow
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.model.plant import Plant
from aurelian.model.record import Record
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from historian.columns import SignalKeys
from historian.decoding import decode_record
from historian.prepared import Prepared, encode_columns
from historian.sample_columns import make_columns
from opcua_gateway.mapping import Notification, Tag, tags_of, to_reading

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## One OPC UA value, from notification to row\n"
NOW = time.time_ns() // 1000


@dataclass
class OneValue:
    """A source that delivers one value of one node."""

    model: SourceModel
    owner: str
    tag: Tag
    acknowledged: bool = False

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        found = Notification(0, 12.5, ValueType.DOUBLE, 0, NOW - 1000, NOW - 900)
        reading = to_reading(self.tag, found, initial=False)
        yield Delivery(
            source=self.model,
            owner=self.owner,
            received_at=NOW,
            readings=[reading],
            ack=self._acknowledge,
        )

    def _acknowledge(self) -> None:
        self.acknowledged = True


async def test_every_file_that_a_value_runs_through_is_named_on_the_page(tmp_path: Path) -> None:
    plant = _plant()
    [model] = plant.sources
    source = OneValue(model, plant.owner, tags_of(plant, model)[0])
    outbox = Outbox.open(tmp_path / "outbox", boot=1, limits=Limits(min_free=0.0))
    with _files_run() as files:
        async with OutboxThread(outbox) as thread:
            await forward(source, thread, "gateway-1")
            rows, _ = await thread.call(outbox.unsent)
        prepared = await asyncio.to_thread(_to_rows, rows)
    assert source.acknowledged
    assert prepared.columns.numbers.value.tolist() == [12.5]
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split(HEADING, 1)[1].split("\n## ", 1)[0]
    named = tuple(f"/{each}" for each in re.findall(r"`([\w/]+\.py)`", section))
    assert len(files) > 10, "the files that run are not seen"
    assert not [file for file in sorted(files) if not f"/{file}".endswith(named)]


def _plant() -> Plant:
    unit = {"name": "press", "source": "press-opcua", "signals": [{"name": "f", "address": "i=7"}]}
    return Plant.model_validate(
        {
            "company": {"id": "pilot-x", "name": "Pilot X"},
            "site": "north",
            "time_zone": "UTC",
            "sources": [{"id": "press-opcua", "kind": "opcua", "url": "opc.tcp://127.0.0.1:4840"}],
            "areas": [
                {
                    "name": "forming",
                    "lines": [
                        {
                            "name": "line-1",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [unit],
                        }
                    ],
                }
            ],
        }
    )


def _to_rows(rows: list[OutboxRow]) -> Prepared:
    """What the historian makes of the rows, between Kafka and the database."""
    [row] = [row for row in rows if row.samples]
    record = Record(SAMPLES.name, 0, 0, NOW // 1000, row.key.encode(), row.data)
    batch = decode_record(record, "log").batch
    assert batch is not None
    keys = SignalKeys(np.array([7], np.int32), np.array([0], np.int32), np.array([True]))
    return encode_columns(make_columns([(batch, keys)], NOW))


@contextmanager
def _files_run() -> Iterator[set[str]]:
    """The files of `shared/` and `services/` whose functions are called, in any thread begun
    within."""
    files: set[str] = set()
    folders = tuple(f"{ROOT / name}/" for name in ("shared", "services"))

    def see(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(folders):
            files.add(str(Path(file).relative_to(ROOT)))

    before = sys.getprofile()
    threading.setprofile(see)
    sys.setprofile(see)
    try:
        yield files
    finally:
        sys.setprofile(before)
        threading.setprofile(before)  # type: ignore[arg-type]
