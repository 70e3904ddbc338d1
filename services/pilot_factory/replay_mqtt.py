"""A recording as JSON messages over MQTT, QoS 1: each is sent until the broker has acknowledged it.
Called by `replay.py`."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable

from paho.mqtt.enums import MQTTProtocolVersion

from aurelian.runtime.retry import Backoff
from pilot_factory.mqtt_link import NO_SUBSCRIBER, MqttLink, connect
from pilot_factory.recording import Recording, RecordingError, Row, topic
from pilot_factory.sendlog import SendLog

_WINDOW = 100
"""Messages sent and not yet acknowledged."""

_NOBODY_WAIT_S = 0.2
_POLL_S = 0.05


async def publish_recording(
    recording: Recording,
    due: Callable[[int], int],
    url: str,
    sent: SendLog | None,
    tell: Callable[[str], None],
) -> None:
    """Publish every row in order until the broker has acknowledged it.

    A broker that speaks MQTT 5 also says when nobody has subscribed; such a message is sent again
    later.

    Args:
        recording: what to publish, one message per row.
        due: index after the last row that is due, given the index of the next one.
        url: of the broker; while it is away it is tried again for ever.
        sent: log of what was sent.
        tell: is given sentences about the progress.

    Raises:
        RecordingError: a value has a Bad status, which this JSON cannot say.
    """
    messages = [_message(row) for row in recording.rows]
    publisher = _Publisher(topic(recording), messages)
    retry = Backoff(longest_s=10.0)
    version = MQTTProtocolVersion.MQTTv5
    while not publisher.done:
        try:
            async with connect(
                url, f"aurelian-replay-{os.getpid()}", acked=publisher.acknowledged, version=version
            ) as link:
                tell(f"publishing to {url} on {publisher.topic}")
                retry.reset()
                await publisher.send(link, due, tell)
        except ConnectionError as error:
            tell(f"{error}; trying again")
            if version is MQTTProtocolVersion.MQTTv5:
                version = MQTTProtocolVersion.MQTTv311  # an older broker, perhaps
                continue
            version = MQTTProtocolVersion.MQTTv5
            await retry.wait()
    if sent is not None:
        for row in recording.rows:
            for column, value, status in row.values:
                sent.write(recording.path(column), column.type, value, row.time, status)


class _Publisher:
    """Sends messages in order; goes back to the first unacknowledged one on a new connection."""

    def __init__(self, topic: str, messages: list[bytes]) -> None:
        self.topic = topic
        self._messages = messages
        self._acknowledged = 0  # all before this index are
        self._ahead: set[int] = set()  # acknowledged beyond it
        self._next = 0
        self._index: dict[int, int] = {}
        self._nobody = False
        self._changed = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether all messages are acknowledged."""
        return self._acknowledged == len(self._messages)

    async def send(
        self, link: MqttLink, due: Callable[[int], int], tell: Callable[[str], None]
    ) -> None:
        """Send on one connection, until all is acknowledged or the connection is lost."""
        self._go_back()
        told, window = False, 1  # one message alone finds out whether anybody listens
        while not self.done and not link.lost.is_set():
            before = self._acknowledged
            end = min(due(self._next), self._acknowledged + window, len(self._messages))
            while self._next < end:
                mid = link.publish(self.topic, self._messages[self._next], qos=1)
                self._index[mid] = self._next
                self._next += 1
            await self._some_answer()
            if self._nobody:
                if not told:
                    tell(f"nobody has subscribed to {self.topic} yet; waiting")
                told, window = True, 1
                await asyncio.sleep(_NOBODY_WAIT_S)
                self._go_back()
            elif self._acknowledged > before:
                window = _WINDOW

    def acknowledged(self, mid: int, reason: int) -> None:
        """The broker has a message."""
        index = self._index.pop(mid, None)
        if index is not None and reason == NO_SUBSCRIBER:
            self._nobody = True
        elif index is not None and index >= self._acknowledged:
            self._ahead.add(index)
            while self._acknowledged in self._ahead:
                self._ahead.remove(self._acknowledged)
                self._acknowledged += 1
        self._changed.set()

    async def _some_answer(self) -> None:
        """Wait for an acknowledgement, but not for longer than rows may take to become due."""
        try:
            async with asyncio.timeout(_POLL_S):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def _go_back(self) -> None:
        self._nobody = False
        self._next = self._acknowledged
        self._ahead.clear()
        self._index.clear()


def _message(row: Row) -> bytes:
    fields: dict[str, object] = {}
    for column, value, status in row.values:
        if status != 0:
            raise RecordingError(
                f"column {column.title!r} has a status; only --as opcua can say it"
            )
        fields[column.name] = (
            base64.b64encode(value).decode() if isinstance(value, bytes) else value
        )
    ts = row.time // 1000 if row.time % 1000 == 0 else row.time
    return json.dumps({"ts": ts, "fields": fields}, separators=(",", ":")).encode()
