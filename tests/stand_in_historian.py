"""What a gateway sees of the historian: it reads each log from its start, keeps what it reads and
says what is stored."""

import contextlib
import itertools
import json
import time
from dataclasses import dataclass, field

from aurelian.backbone.client import Consumer, Producer, Unavailable
from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, STORED
from aurelian.model import codec
from aurelian.model.record import Record
from aurelian.model.sample import SampleBatch
from aurelian.runtime.settings import KafkaSettings


@dataclass
class Historian:
    """Stands in for the historian: reads each log from its start, keeps every batch, says what is
    stored."""

    settings: KafkaSettings
    batches: list[SampleBatch] = field(default_factory=list)
    events: list[codec.SourceEvent] = field(default_factory=list)
    rejected: list[codec.Rejected] = field(default_factory=list)
    assets: dict[str, dict[str, object]] = field(default_factory=dict)
    stored_to: dict[str, int] = field(default_factory=dict)
    beyond: dict[str, set[int]] = field(default_factory=dict)

    async def follow(self, log_id: str) -> None:
        """Work on one log until cancelled or until it goes away."""
        with contextlib.suppress(Unavailable):
            async with (
                Producer(self.settings, "historian") as producer,
                Consumer(
                    self.settings, [SAMPLES, SOURCE_EVENTS, REJECTED, ASSETS], client_id="historian"
                ) as consumer,
            ):
                heartbeat = 0.0
                while True:
                    if time.monotonic() >= heartbeat:
                        heartbeat = time.monotonic() + 2
                        body = json.dumps({"log_id": log_id, "at": time.time_ns() // 1000})
                        await producer.send(STORED, "@heartbeat", body.encode())
                    for key in {
                        key
                        for record in await consumer.take(timeout_s=0.1)
                        if (key := self._keep(record))
                    }:
                        body = json.dumps({"sequence": self.stored_to[key], "log_id": log_id})
                        await producer.send(STORED, key, body.encode())

    def _keep(self, record: Record) -> str | None:
        assert record.key is not None
        if record.value is None:
            assert record.topic == ASSETS.name
            self.assets.pop(record.key.decode(), None)
            return None
        headers = {name: value.decode() for name, value in record.headers}
        if record.topic == SAMPLES.name:
            batch = codec.decode(record.value)
            assert record.key == batch.line.encode()
            self.batches.append(batch)
            return self._advance(f"{batch.gateway}/{batch.boot}/{batch.line}", batch.sequence)
        if record.topic == ASSETS.name:
            self.assets[record.key.decode()] = json.loads(record.value)
            return None
        if record.topic == REJECTED.name:
            self.rejected.append(codec.decode_rejected(record.value))
            stream = "@rejected"
        else:
            self.events.append(codec.decode_event(record.value))
            stream = "@events"
        if "sequence" not in headers:
            return None
        return self._advance(
            f"{headers['gateway']}/{headers['boot']}/{stream}", int(headers["sequence"])
        )

    def _advance(self, key: str, sequence: int) -> str:
        beyond = self.beyond.setdefault(key, set())
        beyond.add(sequence)
        to = self.stored_to.get(key, 0)
        to = next(n for n in itertools.count(to) if n + 1 not in beyond)
        self.stored_to[key] = to
        return key

    def counts(self, source: str | None = None) -> dict[str, int]:
        """The newest received counts of a source, or of all, summed over boots and hours. Tests
        that share a broker name theirs."""
        newest = {
            (e.source, e.boot, e.received.hour): e.received
            for e in self.events
            if e.HasField("received") and source in (None, e.source)
        }
        return {
            name: sum(getattr(each, name) for each in newest.values())
            for name in ("received", "rejected", "dropped", "skipped")
        }
