"""The OPC UA gateway and a secured server of node-opcua: every policy, mode and way to sign in, and
what is refused with which next step."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from aurelian.edge.certificates import read_certificates, self_signed
from aurelian.edge.gateway import Delivery
from aurelian.edge.trust_store import TrustStore
from opcua_gateway.connection import opened
from opcua_gateway.session import SessionLost
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.between import between
from tests.peers.certificates import NOW, make
from tests.peers.node_opcua_server import NodeOpcua, node_opcua, url_at
from tests.peers.opcua_relay import CREATE_SESSION
from tests.source_alone import readings_of, taking
from tests.waiting import until

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
MODES = ("Sign", "SignAndEncrypt")
PASSWORD = "kühl & trocken"
NODES = 3


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PEER_PASSWORD", PASSWORD)
    yield


def of_operator(**security: Any) -> dict[str, Any]:
    return {"user": "operator", "password_env": "PEER_PASSWORD", "security": security}


def secured(folder: Path, **more: Any) -> Any:
    certificate, key = make().write(folder / "server")
    options = {"policies": ("None", *POLICIES), "modes": ("None", *MODES), "password": PASSWORD}
    options |= {"certificate": certificate, "key": key}
    return node_opcua(folder, nodes=NODES, **(options | more))


async def try_once(source: OpcuaSource, folder: Path) -> None:
    """Open a session as the source does; what goes wrong is raised."""
    way = await source._dialler.endpoints(source._servers.all[0]).find_way(5.0)
    async with opened(
        source.model.url, way, timeout_s=5.0, session_timeout_s=30.0, name="t", secret=None
    ) as session:
        assert len((await session.read_limits()).namespaces) > 1


def trust_server(folder: Path) -> None:
    """What `aurelian trust add` does with all that were refused."""
    store = TrustStore(folder / "pki")
    for each in store.listed("rejected"):
        store.trust(read_certificates(each.path)[0])


def births(taken: list[Delivery]) -> list[str]:
    return [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]


def deaths(taken: list[Delivery]) -> list[str]:
    return [e.death.reason for d in taken for e in d.events if e.HasField("death")]


def came(taken: list[Delivery]) -> int:
    return len({r.signal.path for d in taken for r in readings_of(d) if r.value is not None})


async def test_every_policy_mode_and_user(tmp_path: Path) -> None:
    async with secured(tmp_path) as server:
        first = make_source(tmp_path, server.url, NODES, source=of_operator())
        with pytest.raises(
            SessionLost, match=r"it is not trusted.*aurelian trust add [0-9A-F]{16}"
        ):
            await try_once(first, tmp_path)
        trust_server(tmp_path)
        for policy in POLICIES:
            for mode in MODES:
                wanted = {"policy": policy, "mode": mode}
                for more in ({"security": wanted}, of_operator(**wanted)):
                    source = make_source(tmp_path, server.url, NODES, source=more)
                    await try_once(source, tmp_path)
        # In the clear, the password still encrypted for the holder of the trusted certificate.
        clear = make_source(tmp_path, server.url, NODES, source=of_operator(policy="None"))
        await try_once(clear, tmp_path)


@pytest.mark.parametrize("policy", [*POLICIES, "None"])
async def test_a_user_signs_in_by_certificate(tmp_path: Path, policy: str) -> None:
    certificate, key = make("user").write(tmp_path, "user")
    user = {"user_certificate": str(certificate), "user_key": str(key)}
    security = {"policy": policy, "trust": "first_use"}
    async with secured(tmp_path, anonymous=False) as server:
        source = make_source(tmp_path, server.url, NODES, source=user | {"security": security})
        await try_once(source, tmp_path)
        # A key that is not the certificate's proves nothing.
        _, other = make("other").write(tmp_path, "other")
        wrong = user | {"user_key": str(other), "security": security}
        with pytest.raises(SessionLost, match="`user_key` does not belong to `user_certificate`"):
            await try_once(make_source(tmp_path, server.url, NODES, source=wrong), tmp_path)


async def test_a_users_certificate_that_the_server_does_not_trust_is_not_taken_for_ours(
    tmp_path: Path,
) -> None:
    certificate, key = make("user").write(tmp_path, "user")
    user = {"user_certificate": str(certificate), "user_key": str(key)}
    wanted = user | {"security": {"trust": "first_use"}}
    async with secured(tmp_path, anonymous=False, accepts_users=False) as server:
        source = make_source(tmp_path, server.url, NODES, source=wanted)
        with pytest.raises(
            SessionLost, match=r"refuses the user's certificate CN=user: .*as a user's\?"
        ) as refused:
            await try_once(source, tmp_path)
        assert "our certificate" not in str(refused.value)


async def test_values_come_over_a_secured_session_and_over_a_cut(tmp_path: Path) -> None:
    async with secured(tmp_path, anonymous=False) as server:
        source = make_source(tmp_path, server.url, NODES, source=of_operator(trust="first_use"))
        async with taking(source) as taken:
            await until(lambda: came(taken) == NODES, "values")
            assert source._live is not None
            source._live[0]._client.disconnect_socket()
            await until(
                lambda: births(taken) == ["connected", "resumed"],
                "the same session, over a new channel",
            )
        # The next process goes on with it too.
        source = make_source(tmp_path, server.url, NODES, source=of_operator(trust="first_use"))
        async with taking(source) as taken:
            await until(lambda: bool(taken), "the first delivery")
            (birth,) = [e.birth for d in taken for e in d.events if e.HasField("birth")]
            assert birth.detail == "resumed"


async def test_our_certificate_is_replaced_and_made_anew_without_a_restart(tmp_path: Path) -> None:
    own = tmp_path / "pki" / "own"

    def shows() -> bytes:
        """The certificate of the session that is up."""
        live = source._live
        return b"" if live is None else live[0]._client.security_policy.host_certificate

    async with secured(tmp_path) as server:
        security = {"security": {"trust": "first_use"}}
        source = make_source(tmp_path, server.url, NODES, source=security)
        async with taking(source) as taken:
            await until(lambda: came(taken) == NODES, "values")
            assert shows() == (own / "certificate.der").read_bytes()
            theirs = make(uris=("urn:theirs",), extended=(ExtendedKeyUsageOID.CLIENT_AUTH,))
            certificate, key = theirs.write(tmp_path / "new")
            key.rename(own / "key.pem")
            certificate.rename(own / "certificate.der")
            source._live[0]._client.disconnect_socket()  # type: ignore[index]
            await until(lambda: shows() == theirs.der, "a session with theirs", 30)
            ended = self_signed(theirs.key, "urn:ours", ["h"], NOW - timedelta(days=710))
            (own / "certificate.der").write_bytes(ended.public_bytes(Encoding.DER))
            source._live[0]._client.disconnect_socket()  # type: ignore[index]
            await until(lambda: shows() not in (b"", theirs.der), "a session with a new one", 30)
            assert shows() == (own / "certificate.der").read_bytes()
            assert shows() != ended.public_bytes(Encoding.DER)


async def test_a_source_waits_until_both_trust_each_other(tmp_path: Path) -> None:
    async with secured(tmp_path, accepts_all=False) as server:
        source = make_source(tmp_path, server.url, NODES, source={"security": {}})
        store = TrustStore(tmp_path / "pki")
        async with taking(source) as taken:
            await until(lambda: bool(store.listed("rejected")), "the server's certificate")
            (refused,) = store.listed("rejected")
            assert (refused.source, refused.reason) == ("x/s/peer", "it is not trusted")
            trust_server(tmp_path)
            theirs = tmp_path / "node-opcua-pki"
            await until(lambda: any((theirs / "rejected").iterdir()), "ours to be refused there")
            with pytest.raises(
                SessionLost, match=r"does it trust our certificate .*certificate\.der"
            ):
                await try_once(source, tmp_path)
            for each in (theirs / "rejected").iterdir():
                shutil.move(each, theirs / "trusted" / "certs" / each.name)
            await until(lambda: came(taken) == NODES, "values once both trust", 30)
            # What waits for a person is said on the pages: with the source, once each.
            told = deaths(taken)
            assert len(told) == 2 and "it is not trusted" in told[0]
            assert "does it trust our certificate" in told[1]


@pytest.mark.parametrize(
    ("server", "source", "says"),
    [
        (
            {"policies": ("None",), "modes": ("None",)},
            {"security": {}},
            "offers no security at all.*policy: None",
        ),
        (
            {"policies": ("Basic256Sha256",), "modes": ("Sign",)},
            {"security": {}},
            "does not offer any security of today with SignAndEncrypt; it offers "
            "Basic256Sha256 with Sign",
        ),
        (
            {},
            {"security": {"policy": "Basic128Rsa15"}},
            "does not offer Basic128Rsa15 with SignAndEncrypt",
        ),
        (
            {"anonymous": False},
            {"security": {"trust": "first_use"}},
            "does not take a session without a user.*say `user` and `password_file`",
        ),
        (
            {"password": "another"},
            of_operator(trust="first_use"),
            "the server refuses user 'operator'",
        ),
        (
            {},
            {"security": {"server_sha256": "00" * 32}},
            "not the one that `server_sha256` names",
        ),
        (
            {},
            {"security": {"trust": "first_use", "server_uri": "urn:another"}},
            "its ApplicationUri is 'urn:aurelian-test:node-opcua', expected is 'urn:another'.*"
            r"waive: \[application_uri\]",
        ),
        (
            {},
            {"user": "operator", "password_env": "NO_SUCH", "security": {}},
            "environment variable NO_SUCH.*is not set",
        ),
        (
            {},
            {"user": "operator", "password_file": "/nowhere/word", "security": {}},
            "cannot sign in: /nowhere/word: No such file",
        ),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_next_step(
    tmp_path: Path, server: dict[str, Any], source: dict[str, Any], says: str
) -> None:
    async with secured(tmp_path, **server) as running:
        with pytest.raises(SessionLost, match=says):
            await try_once(make_source(tmp_path, running.url, NODES, source=source), tmp_path)


def without_the_strongest(message: bytes) -> bytes:
    """A list of endpoints without Aes256_Sha256_RsaPss: under that name nobody knows it."""
    return message.replace(b"#Aes256_Sha256_RsaPss", b"#Aes999_Sha256_RsaPss")


async def test_in_the_clear_no_password_is_encrypted_for_a_certificate_that_was_not_checked(
    tmp_path: Path,
) -> None:
    certificate, key = (server := make()).write(tmp_path / "mine")
    other = next(made for made in iter(make, None) if len(made.der) == len(server.der))
    swapped = []

    def swap(message: bytes) -> bytes:
        """Another certificate where the session is made, not where endpoints are listed."""
        if message[24:28] != struct.pack("<BBH", 1, 0, CREATE_SESSION):
            return message
        swapped.append(message.count(server.der))
        return message.replace(server.der, other.der)

    async with (
        secured(tmp_path, certificate=certificate, key=key) as running,
        between(running.port) as attacker,
    ):
        wanted = of_operator(policy="None", trust="first_use")
        source = make_source(tmp_path, url_at(attacker.port), NODES, source=wanted)
        await try_once(source, tmp_path)
        attacker.change = swap
        with pytest.raises(SessionLost, match="it has another certificate"):
            await try_once(source, tmp_path)
    assert swapped[0]


async def test_a_list_of_endpoints_that_somebody_weakened_is_found_out(tmp_path: Path) -> None:
    async with secured(tmp_path) as server, between(server.port) as attacker:
        source = make_source(
            tmp_path, url_at(attacker.port), NODES, source=of_operator(trust="first_use")
        )
        await try_once(source, tmp_path)
        attacker.change = without_the_strongest
        with pytest.raises(
            SessionLost,
            match="offers Aes256_Sha256_RsaPss with SignAndEncrypt, and said Basic256Sha256 with",
        ):
            await try_once(source, tmp_path)


async def test_also_where_the_session_of_before_is_taken_up_again(tmp_path: Path) -> None:
    async with secured(tmp_path) as server, between(server.port) as attacker:
        source = make_source(
            tmp_path, url_at(attacker.port), NODES, source=of_operator(trust="first_use")
        )
        async with taking(source) as taken:
            await until(lambda: came(taken) == NODES, "values")
            attacker.change = without_the_strongest
            attacker.disconnect()
            await until(
                lambda: any("between may change" in each for each in deaths(taken)),
                "the attack",
                30,
            )
            assert births(taken) == ["connected"]
            attacker.change = lambda message: message
            await until(lambda: births(taken) == ["connected", "resumed"], "the session", 30)


async def test_on_first_use_the_next_other_certificate_is_an_impostor(tmp_path: Path) -> None:
    wanted = {"security": {"trust": "first_use"}}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    servers: list[NodeOpcua] = []
    async with secured(tmp_path / "one") as first, secured(tmp_path / "two") as second:
        servers += [first, second]
        await try_once(make_source(tmp_path, first.url, NODES, source=wanted), tmp_path)
        await try_once(make_source(tmp_path, first.url, NODES, source=wanted), tmp_path)
        with pytest.raises(SessionLost, match="it is not trusted"):
            await try_once(make_source(tmp_path, second.url, NODES, source=wanted), tmp_path)
        # What one source took for the first is no other's.
        by_list = {"security": {}}
        with pytest.raises(SessionLost, match="it is not trusted"):
            await try_once(make_source(tmp_path, first.url, NODES, source=by_list), tmp_path)
