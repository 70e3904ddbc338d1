"""What the OPC UA gateway asks of a server, read on the way: the library's defaults that lose
values or upset servers are in none of it (traps T5, T10, T11, T15 and T16 of the README)."""

from __future__ import annotations

import logging
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from tests.integration.opcua_gateway.test_chaos import births
from tests.integration.opcua_gateway.test_types import make_source, values
from tests.peers.between import between
from tests.peers.node_opcua_server import NAMESPACE, node_opcua, url_at
from tests.source_alone import taking
from tests.waiting import until

PAUSE_MS = 150
_BODY_AT, _REQUEST_AT = 24, 20
_OF_CONNECTION = b"HEL"
_REQUESTS = {
    getattr(ua.ObjectIds, f"{each.__name__}_Encoding_DefaultBinary"): each
    for each in (
        ua.CreateSessionRequest,
        ua.CreateSubscriptionRequest,
        ua.CreateMonitoredItemsRequest,
        ua.BrowseRequest,
    )
}


class Requests:
    """What was asked, and how many Publish requests waited at the server.

    Attributes:
        waiting: after each message of either side.
    """

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self._found: list[Any] = []
        self._publish: set[int] = set()

    def ask(self, message: bytes) -> None:
        """A message of the client's."""
        if message[:3] == _OF_CONNECTION:
            self._publish.clear()
        if message[:4] != b"MSGF":
            return
        kind = _kind(message)
        if kind == ua.ObjectIds.PublishRequest_Encoding_DefaultBinary:
            self._publish.add(_number(message))
        elif kind in _REQUESTS:
            body = ua.utils.Buffer(message[_BODY_AT:])
            self._found.append(struct_from_binary(_REQUESTS[kind], body))
        self.waiting.append(len(self._publish))

    def answer(self, message: bytes) -> bytes:
        """A message of the server's."""
        if message[:4] == b"MSGF":
            self._publish.discard(_number(message))
            self.waiting.append(len(self._publish))
        return message

    def of(self, kind: type) -> list[Any]:
        """The requests of a kind."""
        return [each for each in self._found if isinstance(each, kind)]


def _kind(message: bytes) -> int:
    return int(struct.unpack_from("<H", message, _BODY_AT + 2)[0])


def _number(message: bytes) -> int:
    return int(struct.unpack_from("<I", message, _REQUEST_AT)[0])


async def test_what_is_asked_of_a_server_is_what_keeps_its_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    signals = {
        "v0": (f"nsu={NAMESPACE};s=v0", "double"),
        "part": (f"nsu={NAMESPACE};s=part", "json"),
    }
    requests = Requests()
    async with node_opcua(tmp_path, nodes=1, types=True) as server, between(server.port) as way:
        way.look, way.change = requests.ask, requests.answer
        async with taking(make_source(tmp_path, url_at(way.port), signals)) as taken:
            await until(lambda: len(values(taken)) == 2, "first values", 30)
            await server.count(1, 10, PAUSE_MS)
            await until(lambda: values(taken)["v0"][-1] == 10.0, "the last value")
            peak = max(requests.waiting)
            await server.forget()
            await until(lambda: births(taken) == ["connected", "connected"], "a new session", 30)
            await server.count(11, 12, PAUSE_MS)
            await until(lambda: values(taken)["v0"][-1] == 12.0, "values of the new session", 30)
    # T5: one request more than subscriptions, and never more than a server takes.
    assert peak == 2 and max(requests.waiting) <= 10
    sessions = requests.of(ua.CreateSessionRequest)
    subscriptions = requests.of(ua.CreateSubscriptionRequest)
    assert len(sessions) == len(subscriptions) == 2
    # T10: a name of ours, a session that a crash leaves behind for minutes only.
    for session in (each.Parameters for each in sessions):
        assert session.RequestedSessionTimeout == 300_000
        assert session.SessionName.startswith("aurelian")
        assert session.ClientDescription.ApplicationUri == "urn:aurelian:opcua-gateway"
    for each in (each.Parameters for each in subscriptions):
        assert each.RequestedPublishingInterval == 100
        assert each.RequestedMaxKeepAliveCount == 20  # of 100 ms: 2 s
        assert each.RequestedLifetimeCount >= 3 * each.RequestedMaxKeepAliveCount
    # T10, T11: the same of each node in the second session.
    items = [
        (item.ItemToMonitor.NodeId.Identifier, item.RequestedParameters)
        for each in requests.of(ua.CreateMonitoredItemsRequest)
        for item in each.Parameters.ItemsToCreate
    ]
    for name in signals:
        found = [wanted for node, wanted in items if node == name]
        assert len(found) == 2
        for wanted in found:
            assert wanted.SamplingInterval == 100 and wanted.DiscardOldest
            assert wanted.QueueSize > 60_000 / 100
            assert wanted.Filter.Trigger == ua.DataChangeTrigger.StatusValueTimestamp
    # T15: no View has a time.
    browsed = requests.of(ua.BrowseRequest)
    assert browsed
    for each in browsed:
        assert each.Parameters.View.Timestamp == datetime(1601, 1, 1, tzinfo=UTC)
    # T16: with INFO switched on no value is written out.
    assert any(record.levelno == logging.INFO for record in caplog.records)
    for record in caplog.records:
        said = record.getMessage()
        assert not any(part in said for part in ("DataValue(", "Notification", "PublishResult"))
