"""OPC UA servers of Eclipse Milo, a Java stack that shares no line with ours nor with node-opcua;
many in one process, as Java takes seconds to start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from aurelian.local import ports
from tests import maven
from tests.peers.certificates import Made

FOLDER = Path(__file__).parent / "milo"
URI = "urn:aurelian-test:milo"
NAMESPACE = URI
TOKENS = ("anonymous", "username:Basic256Sha256", "certificate:Basic256Sha256")
_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Dio.netty.noUnsafe=true")
_LOG = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


@dataclass(frozen=True, slots=True)
class MiloServer:
    """One running server: Double variables `nsu=NAMESPACE;s=v0` and so on, all 0 at first,
    and `s=hidden`, which nobody may read.

    Attributes:
        pki: `trusted/certs` and `rejected/certs` of clients' certificates.
    """

    url: str
    port: int
    pki: Path


class Milo:
    """The process, for tests of one thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._number = 0

    @contextlib.asynccontextmanager
    async def serving(
        self,
        folder: Path,
        certificate: Made,
        *,
        chain: Sequence[Made] = (),
        endpoints: Sequence[str] = ("None/None", "Basic256Sha256/SignAndEncrypt"),
        tokens: Sequence[str] = TOKENS,
        uri: str = URI,
        password: str = "word",
        trusts_all: bool = True,
        accepts_users: bool = True,
        nodes: int = 3,
        port: int = 0,
    ) -> AsyncIterator[MiloServer]:
        """Run a server with its files in `folder`.

        Args:
            chain: issuers that it sends with its certificate.
            endpoints: POLICY/MODE.
            tokens: TYPE:POLICY of users, without a policy that of the endpoint.
            password: of the user `operator`.
            trusts_all: clients' certificates, unseen; else those in its folder `pki`.
            accepts_users: their certificates, unseen; else none.
            port: 0: a free one.
        """
        pki, port = folder / "pki", port or ports.any_free()
        options = {
            "port": port,
            "certificate": folder / "chain.pem",
            "key": folder / "key.der",
            "pki": pki,
            "uri": uri,
            "endpoints": " ".join(endpoints),
            "tokens": " ".join(tokens),
            "password": password,
            "trust": "all" if trusts_all else "list",
            "users": "all" if accepts_users else "none",
            "nodes": nodes,
        }
        _write_files(folder, [certificate, *chain], options)
        await self._do("serve", folder / "server.properties")
        try:
            yield MiloServer(f"opc.tcp://127.0.0.1:{port}/milo", port, pki)
        finally:
            await self._do("stop", port)

    async def write(self, server: MiloServer, value: float) -> None:
        """Write a number to every variable of a server."""
        await self._do("write", server.port, value)

    async def _do(self, *command: object) -> None:
        said = await asyncio.to_thread(self._ask, *command)
        assert said == f"done {self._number}", said or "Milo ended"

    def _ask(self, *command: object) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._number += 1
        self._process.stdin.write(("\t".join(map(str, (self._number, *command))) + "\n").encode())
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().strip()


def _write_files(folder: Path, chain: Sequence[Made], options: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.der").write_bytes(
        chain[0].key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "chain.pem").write_bytes(b"".join(each.pem for each in chain))
    lines = [f"{name}={value}" for name, value in options.items()]
    (folder / "server.properties").write_text("\n".join(lines), encoding="utf-8")


@contextlib.contextmanager
def milo(folder: Path) -> Iterator[Milo]:
    """Start the process; skip where Maven cannot bring it."""
    java, jars = maven.install(FOLDER / "jars.sha256", "milo", "Eclipse Milo")
    path = maven.compiled(java, jars, FOLDER / "MiloServer.java")
    with (folder / "milo.log").open("wb") as log:
        process = subprocess.Popen(
            [java, *_JAVA, _LOG, "-cp", os.pathsep.join(map(str, path)), "MiloServer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield Milo(process)
    finally:
        process.kill()
        process.communicate()
