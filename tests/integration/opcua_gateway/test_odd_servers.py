"""The OPC UA gateway and servers that answer what no server should: each costs the session and is
said, nothing more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_session import InternalSession
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.local import ports
from opcua_gateway.connection import opened
from opcua_gateway.session import ITEMS_PER_CALL, Limits, SessionLost
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.between import between
from tests.peers.certificates import authority, make, with_curve
from tests.source_alone import taking
from tests.waiting import until

SIGN = ua.SecurityPolicyType.Basic256Sha256_Sign
OPERATOR = {"user": "operator", "password_env": "PEER_PASSWORD"}
FIRST_USE = {"mode": "Sign", "trust": "first_use"}
NAMESPACES = ua.ObjectIds.Server_NamespaceArray
PER_CALL = ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_PASSWORD", "word")


@contextlib.asynccontextmanager
async def serving(folder: Path, policy: ua.SecurityPolicyType) -> AsyncIterator[tuple[Server, int]]:
    """A server of asyncua, and its port."""
    port = ports.any_free()
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    certificate, key = make().write(folder / "server")
    await server.set_application_uri("urn:aurelian-test:node-opcua")
    server.set_security_policy([policy])
    await server.load_certificate(certificate)
    await server.load_private_key(key)
    async with server:
        yield server, port


async def read_limits(source: OpcuaSource) -> Limits:
    """Open a session as the source does and read what it reads first."""
    way = await source._dialler.endpoints(source._servers.all[0]).find_way(5.0)
    async with opened(
        source.model.url, way, timeout_s=5.0, session_timeout_s=30.0, name="t", secret=None
    ) as session:
        return await session.read_limits()


def source_of(folder: Path, port: int, **source: Any) -> OpcuaSource:
    return make_source(folder, f"opc.tcp://127.0.0.1:{port}", 1, source=source)


SIGN_INS: list[tuple[str, dict[str, str], str]] = [
    ("BadSecurityChecksFailed", OPERATOR, "refuses user 'operator': .*is the password right"),
    ("BadCertificateUntrusted", OPERATOR, "refuses user 'operator'"),
    ("BadIdentityTokenInvalid", OPERATOR, "refuses user 'operator'"),
    ("BadIdentityTokenRejected", {}, "refuses nobody: .*say `user`"),
    ("BadTooManySessions", OPERATOR, "cannot sign in at .*BadTooManySessions"),
    # Of nobody there is no other certificate than ours.
    ("BadCertificateUntrusted", {}, "does it trust our certificate"),
]


async def test_who_is_refused_at_the_sign_in_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = ""

    def refuse(*_: object) -> None:
        raise ServiceError(getattr(ua.StatusCodes, status))

    async with serving(tmp_path, SIGN) as (_, port):
        monkeypatch.setattr(InternalSession, "activate_session", refuse)
        for status, source, says in SIGN_INS:  # noqa: B007 - the server reads it
            with pytest.raises(SessionLost, match=says) as refused:
                await read_limits(source_of(tmp_path, port, **source, security=FIRST_USE))
            assert ("our certificate" in str(refused.value)) == ("our certificate" in says)


async def test_a_connection_that_ends_at_the_sign_in_is_not_our_certificates_fault(
    tmp_path: Path,
) -> None:
    answers = []

    def hang_up(message: bytes) -> bytes:
        answers.append(message[:3])
        if answers.count(b"MSG") == 3:  # endpoints, session, sign-in
            raise ConnectionError
        return message

    async with serving(tmp_path, SIGN) as (_, port), between(port) as attacker:
        attacker.change = hang_up
        source = source_of(tmp_path, attacker.port, **OPERATOR, security=FIRST_USE)
        with pytest.raises(SessionLost, match="ends while user 'operator' signs in") as ended:
            await read_limits(source)
    assert "our certificate" not in str(ended.value)


TABLES: list[tuple[ua.DataValue, str]] = [
    (ua.DataValue(), "namespace table is unreadable"),
    (ua.DataValue(None, ua.StatusCode(ua.StatusCodes.BadNotReadable)), "BadNotReadable"),
    (ua.DataValue(ua.Variant(7, ua.VariantType.Int32)), "int in place of a list"),
    (ua.DataValue(ua.Variant("urn:a", ua.VariantType.String)), "str in place of a list"),
    (ua.DataValue(ua.Variant([1, 2], ua.VariantType.Int32)), "namespace table is unreadable"),
]
LIMITS: list[tuple[ua.Variant | None, int]] = [
    (ua.Variant(7, ua.VariantType.UInt32), 7),
    (ua.Variant(0, ua.VariantType.UInt32), ITEMS_PER_CALL),
    (ua.Variant(-3, ua.VariantType.Int32), ITEMS_PER_CALL),
    (ua.Variant("many", ua.VariantType.String), ITEMS_PER_CALL),
    (ua.Variant([7], ua.VariantType.UInt32), ITEMS_PER_CALL),
    (ua.Variant(float("nan"), ua.VariantType.Double), ITEMS_PER_CALL),
    (None, ITEMS_PER_CALL),
]


async def test_what_is_read_first_costs_the_session_or_counts_as_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, ua.SecurityPolicyType.NoSecurity) as (server, port):
        for limit, per_call in LIMITS:
            answer_with(server, PER_CALL, ua.DataValue(limit))
            assert (await read_limits(source_of(tmp_path, port))).items_per_call == per_call
        for table, says in TABLES:
            answer_with(server, NAMESPACES, table)
            with pytest.raises(SessionLost, match=says):
                await read_limits(source_of(tmp_path, port))
        table = ua.DataValue(ua.Variant(["a", None], ua.VariantType.String))
        answer_with(server, NAMESPACES, table)
        assert (await read_limits(source_of(tmp_path, port))).namespaces == ("a", "")


async def test_a_certificate_of_an_elliptic_curve_is_refused_by_name(tmp_path: Path) -> None:
    curve = with_curve(make(), authority())
    async with serving(tmp_path, SIGN) as (server, port):
        server.iserver.endpoints[0].ServerCertificate = curve.public_bytes(Encoding.DER)
        waived = {"mode": "Sign", "trust": "first_use", "waive": ["key_strength"]}
        with pytest.raises(SessionLost, match="its key is not RSA") as refused:
            await read_limits(source_of(tmp_path, port, security=waived))
    assert "waive" not in str(refused.value)


async def test_what_a_server_calls_itself_is_cut_and_written_so_that_it_can_be_kept(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, SIGN) as (server, port):
        server.iserver.endpoints[0].SecurityPolicyUri = "urn:policy#\0" + 100_000 * "x"
        source = source_of(tmp_path, port, security=FIRST_USE)
        async with taking(source) as taken:
            await until(lambda: bool(taken), "why there is no session")
    (event,) = taken[0].events
    assert "does not offer any security of today" in event.death.reason
    assert len(event.death.reason) <= 2010 and "\0" not in event.death.reason


def answer_with(server: Server, node: int, value: ua.DataValue) -> None:
    done = server.iserver.aspace.set_attribute_value_callback(
        ua.NodeId(node), ua.AttributeIds.Value, lambda *_: value
    )
    assert done.is_good()
