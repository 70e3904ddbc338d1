"""What each browser is told, and in which order: conflation, queues, resume, reset. Called by
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

from dashboard import metrics
from dashboard.live import LivePlant
from dashboard.things import Body, Message


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
        first_id: number of the first event; later starts must give greater ones.
        ring: events kept for resuming. queue: events that may wait for one client.
    """

    def __init__(
        self, plant: LivePlant, *, build: str, first_id: int, ring: int = 4096, queue: int = 512
    ) -> None:
        self.plant = plant
        self.build = build
        self.last_id = first_id
        self.problem: str | None = "starting"
        self._ring: deque[Entry] = deque(maxlen=ring)
        self._queue = queue
        self._clients: set[Client] = set()
        self._first_kept = first_id + 1

    @property
    def clients(self) -> int:
        """Browsers on the stream."""
        return len(self._clients)

    def publish(self, messages: Iterable[Message]) -> None:
        """Tell everybody, at once."""
        for message in messages:
            metrics.EVENTS.labels(message.kind).inc()
            self._add(Entry(self._next_id(), message.kind, _dumps(message.body)))

    def tick(self) -> None:
        """Send the values that changed since the last tick. Call it once a second."""
        indexes, heard = self.plant.take_changes()
        if indexes or heard:
            metrics.EVENTS.labels("v").inc()
            self._add(Entry(self._next_id(), "v", None, frozenset(indexes), frozenset(heard)))

    def beat(self, now_ms: int) -> None:
        """Say that the server lives, what time it has, and which build it is."""
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

    def join(self, last_id: int | None = None) -> Client:
        """Add a browser. One that names its last event gets what it missed, else a snapshot."""
        client = Client()
        self._clients.add(client)
        metrics.CLIENTS.set(len(self._clients))
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
        self._clients.discard(client)
        metrics.CLIENTS.set(len(self._clients))

    def take(self, client: Client, now_ms: int) -> str:
        """All that waits for the client as text of an event stream; empty when nothing does."""
        client.wake.clear()
        if client.reset is not None:
            return self._begin(client, now_ms)
        parts = []
        while client.waiting or client.frame:
            if client.frame and (not client.waiting or client.frame.id < client.waiting[0].id):
                entry, client.frame = client.frame, None
            else:
                entry = client.waiting.popleft()
            parts.append(self._text(entry, now_ms))
        return "".join(parts)

    def snapshot(self, now_ms: int) -> Body:
        """The whole picture with the number of the last event in it, and the time."""
        return {
            "id": self.last_id,
            "now": now_ms,
            "build": self.build,
            "problem": self.problem,
            **self.plant.snapshot(),
        }

    def _begin(self, client: Client, now_ms: int) -> str:
        cause, client.reset = client.reset, None
        head = "" if cause == "joined" else _event(self.last_id, "reset", _dumps({"cause": cause}))
        return head + _event(self.last_id, "snap", _dumps(self.snapshot(now_ms)))

    def _text(self, entry: Entry, now_ms: int) -> str:
        if entry.text is not None:
            return _event(entry.id, entry.kind, entry.text)
        frame = self.plant.frame(set(entry.indexes), set(entry.heard))
        return _event(entry.id, entry.kind, _dumps({"now": now_ms, **frame}))

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


def _event(number: int, kind: str, text: str) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {text}\n\n"


def _dumps(body: Body) -> str:
    return json.dumps(body, separators=(",", ":"), allow_nan=False)
