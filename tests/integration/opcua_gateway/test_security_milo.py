"""The OPC UA gateway and secured servers of Eclipse Milo: every policy, mode and way to sign in,
and what is refused with which next step, by a stack that is not node-opcua's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.gateway import Delivery
from aurelian.edge.ladder import Rung, Verdict, whole
from aurelian.edge.trust_store import TrustStore
from opcua_gateway.connect.ladder import climb
from opcua_gateway.session import SessionLost
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.integration.opcua_gateway.test_security import (
    births,
    came,
    deaths,
    trust_server,
    try_once,
)
from tests.long_tests import LONG_TESTS
from tests.peers.certificates import DAY, NOW, Made, authority, make, revocation_list
from tests.peers.fault_proxy import fault_proxy
from tests.peers.milo_server import NAMESPACE, URI, Milo, milo
from tests.source_alone import readings_of, taking
from tests.waiting import until

TODAY = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
BROKEN = ("Basic128Rsa15", "Basic256")
MODES = ("Sign", "SignAndEncrypt")
ALL = ("None/None", *(f"{policy}/{mode}" for policy in (*TODAY, *BROKEN) for mode in MODES))
PASSWORD = "kühl & trocken"
NODES = 3
OPERATOR = {"user": "operator", "password_env": "PEER_PASSWORD"}
SERVER = make("milo", uris=(URI,))


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milo]:
    """The process of all servers."""
    with milo(tmp_path_factory.mktemp("milo")) as made:
        yield made


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_PASSWORD", PASSWORD)


def source_of(folder: Path, url: str, **source: Any) -> OpcuaSource:
    return make_source(folder, url, NODES, source=source, namespace=NAMESPACE)


def user_certificate(folder: Path) -> dict[str, str]:
    certificate, key = make("user").write(folder, "user")
    return {"user_certificate": str(certificate), "user_key": str(key)}


async def reason_of(source: OpcuaSource, folder: Path) -> str:
    """Why there is no session."""
    with pytest.raises(SessionLost) as refused:
        await try_once(source, folder)
    return str(refused.value)


def of_users(policy: str) -> tuple[str, ...]:
    """The user tokens of a server whose names and certificates have a policy."""
    return ("anonymous", f"username:{policy}", f"certificate:{policy}")


async def test_a_node_that_nobody_may_read_is_said(peer: Milo, tmp_path: Path) -> None:
    async with peer.serving(
        tmp_path / "server", SERVER, tokens=of_users(TODAY[0]), password=PASSWORD
    ) as server:
        hidden = {"hidden": {"address": f"nsu={NAMESPACE};s=hidden"}}
        source = make_source(
            tmp_path, server.url, NODES, source={"security": {"policy": "None"}},
            namespace=NAMESPACE, signals=hidden,
        )  # fmt: skip
        store = TrustStore(tmp_path / "pki")
        ladder = climb(source.model, source._settings, store, source._tags)
        steps = [each async for each in whole(ladder)]
        (step,) = [each for each in steps if each.rung is Rung.SUBSCRIBE]
        assert step.code == "E1604" and step.verdict is Verdict.WARNING, steps
        assert step.said.startswith("we may not read 1 of the 4 nodes: nsu=")
        assert "s=hidden" in step.said and "release these nodes for reading" in step.fix


async def test_every_policy_mode_and_user(peer: Milo, tmp_path: Path) -> None:
    users: list[dict[str, str]] = [{}, OPERATOR, user_certificate(tmp_path)]
    async with peer.serving(
        tmp_path / "server", SERVER, endpoints=ALL, tokens=of_users(TODAY[0]), password=PASSWORD
    ) as server:
        first = source_of(tmp_path, server.url, security={})
        assert "it is not trusted" in await reason_of(first, tmp_path)
        trust_server(tmp_path)
        for policy in (*TODAY, *BROKEN):
            for mode in MODES:
                # Of the broken ones, by name only, one user says whether they work.
                for user in users if policy in TODAY or LONG_TESTS else users[1:2]:
                    security = {"policy": policy, "mode": mode}
                    source = source_of(tmp_path, server.url, **user, security=security)
                    await try_once(source, tmp_path)
        for user in users:
            source = source_of(tmp_path, server.url, **user, security={"policy": "None"})
            await try_once(source, tmp_path)
        # Never into the clear by itself, and a broken policy by name only.
        best = source_of(tmp_path, server.url, **OPERATOR, security={})
        way = await best._dialler.endpoints(best._servers.all[0]).find_way(5.0)
        assert way.policy is not None and way.policy.__name__ == "SecurityPolicyAes256Sha256RsaPss"


@pytest.mark.parametrize("policy", TODAY[1:])
async def test_users_sign_in_by_another_policy_than_the_channels(
    peer: Milo, tmp_path: Path, policy: str
) -> None:
    """In the clear too, for the holder of the trusted certificate: Milo brings none there."""
    first_use = {"trust": "first_use"}
    async with peer.serving(
        tmp_path / "server", SERVER, tokens=of_users(policy), password=PASSWORD
    ) as server:
        for user in (OPERATOR, user_certificate(tmp_path)):
            for channel in ("None", "Basic256Sha256"):
                security = first_use | {"policy": channel}
                await try_once(source_of(tmp_path, server.url, **user, security=security), tmp_path)


async def test_tokens_without_a_policy_have_that_of_the_channel(peer: Milo, tmp_path: Path) -> None:
    certificate = user_certificate(tmp_path)
    trusting = {"trust": "first_use"}
    async with peer.serving(
        tmp_path / "server", SERVER, tokens=("username", "certificate"), password=PASSWORD
    ) as server:
        await try_once(source_of(tmp_path, server.url, **certificate, security=trusting), tmp_path)
        # Milo does not take a name so (OPC UA part 4, 7.41 lets it): what it says leads on.
        said = await reason_of(
            source_of(tmp_path, server.url, **OPERATOR, security=trusting), tmp_path
        )
        assert "let it name one of today" in said and "is the password right" not in said
        clear = {"policy": "None"}
        said = await reason_of(
            source_of(tmp_path, server.url, **OPERATOR, security=clear), tmp_path
        )
        assert "password sent in the clear" in said
        said = await reason_of(
            source_of(tmp_path, server.url, **certificate, security=clear), tmp_path
        )
        assert "sign in without a signature" in said


async def test_a_password_in_the_clear_goes_out_only_where_it_is_said(
    peer: Milo, tmp_path: Path
) -> None:
    async with peer.serving(
        tmp_path / "server",
        SERVER,
        endpoints=("None/None", "Basic256Sha256/Sign", "Basic256Sha256/SignAndEncrypt"),
        tokens=("anonymous", "username:None"),
        password=PASSWORD,
    ) as server:
        for mode, says in (
            ("None", "choose an endpoint with security"),
            ("Sign", "the channel (Basic256Sha256 with Sign) does not protect it"),
        ):
            security: dict[str, Any] = {"trust": "first_use"}
            security |= {"policy": "None"} if mode == "None" else {"mode": mode}
            said = await reason_of(
                source_of(tmp_path, server.url, **OPERATOR, security=security), tmp_path
            )
            assert "waive: [clear_password]" in said and says in said
        security = {"policy": "None", "waive": ["clear_password"]}
        await try_once(source_of(tmp_path, server.url, **OPERATOR, security=security), tmp_path)


async def test_who_is_refused_is_told_apart(peer: Milo, tmp_path: Path) -> None:
    first_use = {"security": {"trust": "first_use"}}
    async with peer.serving(
        tmp_path / "server", SERVER, password="another", accepts_users=False
    ) as server:
        said = await reason_of(source_of(tmp_path, server.url, **OPERATOR, **first_use), tmp_path)
        assert "refuses user 'operator'" in said and "is the password right" in said
        user = user_certificate(tmp_path)
        said = await reason_of(source_of(tmp_path, server.url, **user, **first_use), tmp_path)
        assert "refuses the user's certificate CN=user" in said
        assert "does it know that certificate as a user's?" in said
        assert PASSWORD not in said and "our certificate" not in said
    async with peer.serving(
        tmp_path / "named", SERVER, tokens=("username:Basic256Sha256",)
    ) as server:
        said = await reason_of(source_of(tmp_path, server.url, **first_use), tmp_path)
        assert (
            "does not take a session without a user" in said
            and "`user` and `password_file`" in said
        )


async def test_our_certificate_is_refused_until_the_server_trusts_it(
    peer: Milo, tmp_path: Path
) -> None:
    endpoints = ("None/None", "Basic256Sha256/Sign", "Aes256_Sha256_RsaPss/SignAndEncrypt")
    async with peer.serving(
        tmp_path / "server", SERVER, endpoints=endpoints, trusts_all=False
    ) as server:
        theirs = server.pki / "rejected" / "certs"
        for security in ({"policy": "Basic256Sha256", "mode": "Sign"}, {"policy": "best"}):
            source = source_of(tmp_path, server.url, security=security | {"trust": "first_use"})
            said = await reason_of(source, tmp_path)
            assert "does it trust our certificate" in said
            assert str(tmp_path / "pki" / "own" / "certificate.der") in said
        store = TrustStore(tmp_path / "pki")
        steps = [each async for each in climb(source.model, source._settings, store)]
        assert (steps[-1].code, steps[-1].rung) == ("E1411", Rung.CERTIFICATE)
        assert "BadSecurityChecksFailed, 0x80130000" in steps[-1].said
        async with taking(source) as taken:
            await until(lambda: bool(deaths(taken)), "why there is no session")
            (ours,) = theirs.iterdir()
            shutil.move(ours, server.pki / "trusted" / "certs" / "ours.der")
            await until(lambda: came(taken) == NODES, "values once it does", 30)
            assert births(taken) == ["connected"]


ROOT = authority("root")
MIDDLE = authority("middle", ROOT)
LEAF = make("leaf", MIDDLE, uris=(URI,))
STRANGER = authority("stranger")
LISTS = (revocation_list(ROOT), revocation_list(MIDDLE))
REVOKING = revocation_list(MIDDLE, LEAF)


def keep(folder: Path, trusted: Sequence[Made], issuers: Sequence[Made], lists: Any) -> None:
    """Lay certificates and revocation lists into the gateway's folders, in DER and PEM by turns."""
    for name, files in (("trusted", trusted), ("issuers", issuers)):
        (folder / "pki" / name).mkdir(parents=True, exist_ok=True)
        for n, each in enumerate(files):
            (folder / "pki" / name / f"{n}.crt").write_bytes(each.der if n % 2 else each.pem)
    (folder / "pki" / "crl").mkdir(exist_ok=True)
    for n, crl in enumerate(lists):
        encoding = Encoding.PEM if n % 2 else Encoding.DER
        (folder / "pki" / "crl" / f"{n}.crl").write_bytes(crl.public_bytes(encoding))


CERTIFICATES: list[tuple[str, Made, dict[str, Any], str, str]] = [
    ("expired", make(uris=(URI,), ends=NOW - DAY), {}, "ended on", "validity"),
    ("not yet", make(uris=(URI,), begins=NOW + DAY), {}, "is a clock wrong?", "validity"),
    ("uri", make(uris=("urn:x",)), {}, f"is 'urn:x', expected is '{URI}'", "application_uri"),
    ("host", make(uris=(URI,), hosts=("plc.example",)), {}, "not for 127.0.0.1", "host_name"),
    ("client's", make(uris=(URI,), usage=False), {}, "may not be used to sign", "key_usage"),
    ("weak", make(uris=(URI,), bits=1024), {}, "1024 bits", "key_strength"),
    ("self-signed", SERVER, {"trusted": ()}, "it is not trusted", ""),
    (
        "revoked",
        LEAF,
        {"trusted": (ROOT,), "issuers": (MIDDLE,), "lists": (LISTS[0], REVOKING)},
        "it was revoked by its issuer CN=middle",
        "",
    ),
    (
        "revoked, the list in DER",
        LEAF,
        {"trusted": (MIDDLE,), "lists": (REVOKING,)},
        "it was revoked by its issuer CN=middle",
        "",
    ),
    (
        "another issuer's list",
        LEAF,
        {"trusted": (MIDDLE,), "lists": (revocation_list(STRANGER), revocation_list(ROOT))},
        "the revocation list of CN=middle is not in `crl`",
        "revocation",
    ),
    (
        "a list that another signed in its name",
        LEAF,
        {"trusted": (MIDDLE,), "lists": (revocation_list(MIDDLE, signer=STRANGER),)},
        "the revocation list of CN=middle is not in `crl`",
        "revocation",
    ),
    (
        "no issuer of the intermediate",
        LEAF,
        {"trusted": (STRANGER,), "issuers": (MIDDLE,), "lists": LISTS},
        "it is not trusted",
        "",
    ),
    (
        "no intermediate",
        LEAF,
        {"trusted": (ROOT,), "lists": LISTS},
        r"the certificate of its issuer (CN=middle) is in neither `trusted` nor `issuers`",
        "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "files", "says", "check"),
    [each[1:] for each in CERTIFICATES],
    ids=[each[0] for each in CERTIFICATES],
)
async def test_a_servers_certificate_that_is_not_right_is_refused_with_the_next_step(
    peer: Milo, tmp_path: Path, made: Made, files: dict[str, Any], says: str, check: str
) -> None:
    next_step = f"waive: [{check}]" if check else "aurelian trust add"
    if says.startswith("it was revoked"):
        next_step = "it needs another certificate"
    keep(
        tmp_path,
        files.get("trusted", (made,)),
        files.get("issuers", ()),
        files.get("lists", ()),
    )
    async with peer.serving(tmp_path / "server", made) as server:
        said = await reason_of(source_of(tmp_path, server.url, security={}), tmp_path)
        assert says in said and next_step in said
        (refused,) = TrustStore(tmp_path / "pki").listed("rejected")
        assert says in refused.reason
        if check:  # a device that cannot do better
            security = {"waive": [check]}
            await try_once(source_of(tmp_path, server.url, security=security), tmp_path)


async def test_a_chain_up_to_a_trusted_root_is_taken(peer: Milo, tmp_path: Path) -> None:
    keep(tmp_path, (ROOT,), (MIDDLE,), LISTS)
    async with peer.serving(tmp_path / "server", LEAF, chain=(MIDDLE,)) as server:
        await try_once(source_of(tmp_path, server.url, security={}), tmp_path)


async def test_a_server_with_no_security_is_not_spoken_to_in_the_clear(
    peer: Milo, tmp_path: Path
) -> None:
    async with peer.serving(tmp_path / "server", SERVER, endpoints=("None/None",)) as server:
        for user in ({}, OPERATOR, user_certificate(tmp_path)):
            said = await reason_of(source_of(tmp_path, server.url, **user, security={}), tmp_path)
            assert "offers no security at all" in said and "policy: None" in said


async def test_a_quiet_server_that_answers_old_requests_first_is_not_lost_again(
    peer: Milo, tmp_path: Path
) -> None:
    """Milo keeps the Publish requests of a connection that broke, and answers these first, one in
    each keep-alive: until then it seems silent."""
    async with (
        peer.serving(tmp_path / "server", SERVER) as server,
        fault_proxy(server.port) as proxy,
    ):
        url = f"opc.tcp://127.0.0.1:{proxy.port}/milo"
        settings = {"opcua_keep_alive_s": 0.5, "opcua_publish_requests": 4}
        source = make_source(tmp_path, url, NODES, namespace=NAMESPACE, **settings)
        async with taking(source) as taken:
            await until(lambda: came(taken) == NODES, "values")
            proxy.disconnect()
            await until(lambda: births(taken) == ["connected", "resumed"], "the session", 30)
            live = source._live
            assert live is not None
            publishing = live[1]
            await until(lambda: publishing.has_delivered, "an answer to a request of ours", 30)
            assert source._live is live and len(deaths(taken)) == 1
            await peer.write(server, 1.0)
            await until(lambda: _reached(taken, 1.0), "what is written then")


async def test_a_session_is_resumed_at_its_own_server_only(peer: Milo, tmp_path: Path) -> None:
    """Another server that answers on the address does not get the session's secret."""
    impostor = make("milo", uris=(URI,))
    async with AsyncExitStack() as stack:
        right, wrong = [
            await stack.enter_async_context(peer.serving(tmp_path / name, made, password=PASSWORD))
            for name, made in (("right", SERVER), ("wrong", impostor))
        ]
        proxy = await stack.enter_async_context(fault_proxy(right.port))
        url = f"opc.tcp://127.0.0.1:{proxy.port}/milo"
        first_use = {"trust": "first_use"}
        source = source_of(tmp_path, url, **OPERATOR, security=first_use)
        async with taking(source) as taken:
            await until(lambda: came(taken) == NODES, "values")
            proxy.cut()
            proxy.send_to(wrong.port)
            await until(lambda: bool(deaths(taken)), "the cut")
            proxy.restore()
            await until(lambda: "it is not trusted" in str(deaths(taken)), "the impostor", 30)
            assert births(taken) == ["connected"]
            await peer.write(right, 2.0)
            proxy.cut()
            proxy.send_to(right.port)
            proxy.restore()
            await until(lambda: births(taken) == ["connected", "resumed"], "its session", 30)
            await until(lambda: _reached(taken, 2.0), "what was written meanwhile", 30)


def _reached(taken: list[Delivery], value: float) -> bool:
    """Whether a value of each node came."""
    found = [reading for each in taken for reading in readings_of(each)]
    return len({each.signal.path for each in found if each.value == value}) == NODES
