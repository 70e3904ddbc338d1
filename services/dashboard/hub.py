"""Which events each browser gets, and in which order: conflation, queues, resume, reset. Called by
feed.py and routes.py.

Pure apart from waking the clients' waiting tasks; one event loop. Every event has a number that
only grows, also over restarts. States and alarms are kept for each client until sent; values are
merged to the newest.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi.sse import ServerSentEvent

from dashboard import metrics
from dashboard.live import LivePlant
from dashboard.records import Body, Message, Shown


@dataclass(frozen=True, slots=True)
class Entry:
    """One numbered event. `text` is None for values: they are encoded when sent, so always the
    newest."""

    id: int
    kind: str
    text: str | None
    indexes: frozenset[int] = frozenset()
    heard: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Client:
    """One browser's place in the stream; made by `Hub.join`.

    `frame` is the only waiting frame of values: a second one is merged into it.
    """

    waiting: deque[Entry] = field(default_factory=deque)
    frame: Entry | None = None
    reset: str | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """The live picture and all who look at it.

    Args:
        plant: what is shown.
        build: hash of pages and scripts; browsers reload when it changes.
        owner: company whose picture it is.
        first_id: number of the first event; later starts must give greater ones.
        ring: events kept for resuming. queue: events that may wait for one client.
    """

    def __init__(
        self,
        plant: LivePlant,
        *,
        build: str,
        first_id: int,
        ring: int = 4096,
        queue: int = 512,
        owner: str = "",
    ) -> None:
        self.plant = plant
        self.build = build
        self.owner = owner
        self.last_id = first_id
        self.problem: str | None = "starting"
        self.closed = False
        self._ring: deque[Entry] = deque(maxlen=ring)
        self._queue = queue
        self._clients: set[Client] = set()
        self._first_kept = first_id + 1
        self._snapshot: tuple[Body, str] = ({}, "")
        self._frame: tuple[Entry | None, str] = (None, "")

    @property
    def clients(self) -> int:
        """Browsers on the stream."""
        return len(self._clients)

    def publish(self, messages: Iterable[Message]) -> None:
        """Send to every browser, at once."""
        for message in messages:
            metrics.EVENTS.labels(message.kind).inc()
            self._add(Entry(self._next_id(), message.kind, _dumps(message.body)))

    def tick(self) -> None:
        """Send the values that changed since the last tick. To be called once a second."""
        self.publish(self.plant.take_messages())
        indexes, heard = self.plant.take_changes()
        if indexes or heard:
            metrics.EVENTS.labels("v").inc()
            self._add(Entry(self._next_id(), "v", None, frozenset(indexes), frozenset(heard)))

    def beat(self, now_ms: int) -> None:
        """Send a heartbeat: the server's time, its build, and what it waits for."""
        self._add(
            Entry(
                self._next_id(),
                "hb",
                _dumps({"now": now_ms, "build": self.build, "problem": self.problem}),
            )
        )

    def replace(self, plant: LivePlant) -> None:
        """Show another picture from now on: everybody gets `reset` and a snapshot."""
        self.plant = plant
        plant.take_changes()
        self._ring.clear()
        self._next_id()
        self._first_kept = self.last_id + 1
        for client in self._clients:
            self._restart(client, "rebuilt")

    def close(self) -> None:
        """End all streams: the process stops, and its server waits for them."""
        self.closed = True
        for client in self._clients:
            client.wake.set()

    def join(self, last_id: int | None = None) -> Client:
        """Add a browser. One that names its last event gets what it missed, else a snapshot."""
        client = Client()
        self._clients.add(client)
        metrics.CLIENTS.inc()
        if last_id is None:
            self._restart(client, "joined")
        elif self._first_kept <= last_id + 1 and last_id <= self.last_id:
            for entry in self._ring:
                if entry.id > last_id and entry.kind != "hb":
                    self._enqueue(client, entry)
        else:
            self._restart(client, "gap")
        return client

    def leave(self, client: Client) -> None:
        """Forget a browser. Idempotent."""
        if client in self._clients:
            self._clients.discard(client)
            metrics.CLIENTS.dec()

    def take(self, client: Client, now_ms: int) -> list[ServerSentEvent]:
        """All that waits for the client, in order; empty when nothing does."""
        client.wake.clear()
        if client.reset is not None:
            return self._begin(client, now_ms)
        events = []
        while client.waiting or client.frame:
            if client.frame and (not client.waiting or client.frame.id < client.waiting[0].id):
                entry, client.frame = client.frame, None
            else:
                entry = client.waiting.popleft()
            events.append(self._event(entry, now_ms))
        return events

    def snapshot(self, now_ms: int, shown: Shown) -> Body:
        """As much of the picture as a page shows, with the number of the last event in it, and the
        time."""
        return {"now": now_ms, **self._head(), **self.plant.snapshot(shown)}

    def _begin(self, client: Client, now_ms: int) -> list[ServerSentEvent]:
        cause, client.reset = client.reset, None
        snapshot = _make_event(self.last_id, "snap", self.snapshot_text(now_ms))
        if cause == "joined":
            return [snapshot]
        return [_make_event(self.last_id, "reset", _dumps({"cause": cause})), snapshot]

    def snapshot_text(self, now_ms: int) -> str:
        """The whole picture, encoded once for all browsers that begin between two events.

        What changes in between has a greater number than this snapshot and so follows it.
        """
        head = self._head()
        if self._snapshot[0] != head:
            self._snapshot = (head, _dumps({**head, **self.plant.snapshot()}))
        return _with_time(self._snapshot[1], now_ms)

    def _head(self) -> Body:
        return {
            "owner": self.owner,
            "id": self.last_id,
            "build": self.build,
            "problem": self.problem,
        }

    def _event(self, entry: Entry, now_ms: int) -> ServerSentEvent:
        if entry.text is not None:
            return _make_event(entry.id, entry.kind, entry.text)
        # Encoded once for all browsers that keep up; one that lags has a merged entry of its own.
        if self._frame[0] is not entry:
            self._frame = (entry, _dumps(self.plant.frame(entry.indexes, entry.heard)))
        return _make_event(entry.id, entry.kind, _with_time(self._frame[1], now_ms))

    def _add(self, entry: Entry) -> None:
        if len(self._ring) == self._ring.maxlen:
            self._first_kept = self._ring[0].id + 1
        self._ring.append(entry)
        for client in self._clients:
            self._enqueue(client, entry)

    def _enqueue(self, client: Client, entry: Entry) -> None:
        client.wake.set()
        if client.reset is not None:
            return  # the snapshot that it waits for will hold this
        if entry.text is None:
            if client.frame is not None:
                metrics.CONFLATED.inc()
                waiting = client.frame
                entry = Entry(
                    entry.id,
                    "v",
                    None,
                    entry.indexes | waiting.indexes,
                    entry.heard | waiting.heard,
                )
            client.frame = entry
        elif entry.kind == "hb" and client.waiting and client.waiting[-1].kind == "hb":
            client.waiting[-1] = entry
        elif len(client.waiting) >= self._queue:
            self._restart(client, "overflow")
        else:
            client.waiting.append(entry)

    def _restart(self, client: Client, cause: str) -> None:
        if cause != "joined":
            metrics.RESETS.labels(cause).inc()
        client.waiting.clear()
        client.frame = None
        client.reset = cause
        client.wake.set()

    def _next_id(self) -> int:
        self.last_id += 1
        return self.last_id


def _make_event(number: int, kind: str, text: str) -> ServerSentEvent:
    return ServerSentEvent(id=str(number), event=kind, raw_data=text)


def _with_time(body: str, now_ms: int) -> str:
    """The encoded object with the time at which it is sent as first member."""
    return f'{{"now":{now_ms},{body[1:]}'


def _dumps(body: Body) -> str:
    return json.dumps(body, separators=(",", ":"), allow_nan=False)
