"""Writes `recorded/`: messages of node-opcua and of asyncua's server as they were on the wire, from
which the fuzzing starts. Run by hand where a decoder learns a new message:

    python -m tests.fuzz.record

A file is `<target>-<server>-<number>.bin`: the body of one message behind the chunk's head.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asyncua import Client, Node, Server, ua

from aurelian.local import ports
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.peers.opcua_relay import PUBLISH, READ, Answer, relay

FOLDER = Path(__file__).parent / "recorded"
MOST, LARGEST = 4, 12_000
"""Messages of one kind and server, and bytes of one."""

_KINDS = {
    PUBLISH: "publish",
    READ: "read",
    int(ua.ObjectIds.BrowseResponse_Encoding_DefaultBinary): "browse",
    int(ua.ObjectIds.HistoryReadResponse_Encoding_DefaultBinary): "history",
}


class Recorder:
    """A rule of the relay that keeps what passes."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._kept: Counter[str] = Counter()
        self._seen: set[int] = set()

    def __call__(self, answer: Answer) -> Answer:
        kind, body = _KINDS.get(answer.kind), answer.body
        if (
            kind
            and len(body) <= LARGEST
            and self._kept[kind] < MOST
            and len(body) not in self._seen
        ):
            self._seen.add(len(body))
            number = self._kept[kind] = self._kept[kind] + 1
            (FOLDER / f"{kind}-{self._server}-{number}.bin").write_bytes(body)
        return answer


class _Nothing:
    def datachange_notification(self, node: Node, value: object, data: object) -> None:
        """Take a value, and leave it."""


async def ask(url: str, recorder: Recorder, nodes: list[str], namespace: str) -> None:
    """Browse, read, subscribe and read the history as a client does."""
    async with relay(url, recorder) as between, Client(between.url) as client:
        index = await client.get_namespace_index(namespace)
        watched = [client.get_node(f"ns={index};s={name}") for name in nodes]
        for parent in (client.nodes.objects, client.nodes.server, client.nodes.base_data_type):
            await parent.get_references()
        for start in range(0, len(watched), 3):  # what the server takes
            part = watched[-3 - start : len(watched) - start]
            for attribute in (ua.AttributeIds.Value, ua.AttributeIds.DataType):
                await client.read_attributes(part, attribute)
            await client.read_attributes(part, ua.AttributeIds.DisplayName)
        subscription = await client.create_subscription(50, _Nothing())
        await subscription.subscribe_data_change(watched, queuesize=10)
        await asyncio.sleep(2)
        now = datetime.now(UTC)
        for node in watched[:3]:
            details = ua.ReadRawModifiedDetails(
                IsReadModified=False,
                StartTime=now - timedelta(hours=1),
                EndTime=now,
                NumValuesPerNode=20,
            )
            await node.history_read(details)


@asynccontextmanager
async def of_asyncua() -> AsyncIterator[str]:
    """A server of asyncua with a value of each built-in type."""
    url = f"opc.tcp://127.0.0.1:{ports.any_free()}"
    server = Server()
    await server.init()
    server.set_endpoint(url)
    index = await server.register_namespace("urn:recorded")
    values = {
        "text": ua.Variant("Größe", ua.VariantType.String),
        "bytes": ua.Variant(b"\0\xff", ua.VariantType.ByteString),
        "when": ua.Variant(datetime(2026, 1, 5, 6, tzinfo=UTC), ua.VariantType.DateTime),
        "node": ua.Variant(ua.NodeId("x", 2), ua.VariantType.NodeId),
        "name": ua.Variant(ua.QualifiedName("q", 1), ua.VariantType.QualifiedName),
        "label": ua.Variant(ua.LocalizedText("l", "en"), ua.VariantType.LocalizedText),
        "range": ua.Variant(ua.Range(-1.0, 2.0), ua.VariantType.ExtensionObject),
        "list": ua.Variant([1, 2, 3], ua.VariantType.UInt16),
        "grid": ua.Variant([[1.0, 2.0], [3.0, 4.0]], ua.VariantType.Double),
        "mixed": ua.Variant(
            [ua.Variant(1, ua.VariantType.Int32), ua.Variant("a", ua.VariantType.String)],
            ua.VariantType.Variant,
        ),
        "big": ua.Variant(2**64 - 1, ua.VariantType.UInt64),
        "flag": ua.Variant(True, ua.VariantType.Boolean),
    }
    async with server:
        for name, value in values.items():
            await server.nodes.objects.add_variable(
                ua.NodeId(name, index), name, value, datatype=ua.NodeId(ua.ObjectIds.BaseDataType)
            )
        number = await server.nodes.objects.add_variable(ua.NodeId("count", index), "count", 0.0)
        await server.historize_node_data_change(number, None, 100)
        for each in range(30):
            await number.write_value(float(each))
        yield url


async def main() -> None:
    """Record all."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        options = {"nodes": 40, "types": True, "historized": 40}
        async with node_opcua(Path(folder), **options) as server:  # type: ignore[arg-type]
            names = ["part", "parts", "choice", "open", "unit", "mode", "modes", "grid"]
            counting = asyncio.create_task(server.count(1, 60, 20))
            await counting
            again = asyncio.create_task(server.count(61, 200, 20))
            nodes = [*(f"v{n}" for n in range(40)), *names]
            await ask(server.url, Recorder("node-opcua"), nodes, NAMESPACE)
            await again
    async with of_asyncua() as url:
        names = ["count", "text", "bytes", "when", "node", "name", "label"]
        names += ["range", "list", "grid", "mixed", "big", "flag"]
        await ask(url, Recorder("asyncua"), names, "urn:recorded")


if __name__ == "__main__":
    asyncio.run(main())
