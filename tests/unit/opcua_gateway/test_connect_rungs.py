"""The connection ladder's sentences: what else answers at the port, what certificates and servers
do that no server here does on demand, and the table in the documentation."""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.certificates import sha256_of
from aurelian.edge.ladder import CODES, Rung, Step, Verdict, whole
from aurelian.edge.trust_store import TrustStore
from aurelian.local import ports
from aurelian.model.source_model import SourceModel
from opcua_gateway.connect import ladder
from opcua_gateway.connect.clock_rules import Fault, Times, fault_of, shown_offset, zone_for
from opcua_gateway.connect.ladder import Bounds, climb
from opcua_gateway.connect.near_names import nearest
from opcua_gateway.connect.refusals import Tried, step_of
from opcua_gateway.connect.saying import rung_of, table
from opcua_gateway.connect.sentences import OF_ANY, SENTENCES
from opcua_gateway.failures import SessionLost, TooManySubscriptions, translated
from opcua_gateway.security.endpoints import Endpoints, Way
from opcua_gateway.security.policies import (
    CertificateRefused,
    Refusal,
    SignInRefused,
    Unacceptable,
)
from opcua_gateway.settings import OpcuaGatewaySettings
from tests.peers.certificates import DAY, NOW, URI, Made, authority, make, revocation_list

DOCS = Path(__file__).parents[3] / "docs" / "connect-errors.md"
ACK = b"ACKF" + struct.pack("<IIIIII", 28, 0, 65536, 65536, 0, 0)


def model_of(url: str, **more: Any) -> SourceModel:
    return SourceModel.model_validate({"id": "x", "kind": "opcua", "url": url, **more})


def error(status: int, reason: str = "") -> bytes:
    """An Error message (part 6, 7.1.2.5)."""
    text = reason.encode()
    body = struct.pack("<Ii", status, len(text)) + text
    return b"ERRF" + struct.pack("<I", 8 + len(body)) + body


@contextlib.asynccontextmanager
async def answering(
    says: bytes, *, to: bytes = b"HELF", at_once: bool = False, hangs_up: bool = False
) -> AsyncIterator[str]:
    """A listener that says something to what begins with `to`, or before anything is said."""
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with contextlib.suppress(OSError):
            if at_once:
                writer.write(says)
            while not hangs_up and (heard := await reader.read(4096)):
                if not at_once and heard.startswith(to):
                    writer.write(says)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*served), 5)


async def climbed(
    url: str, folder: Path, seconds: float = 10.0, timeout_s: float = 0.5, **more: Any
) -> list[Step]:
    settings = OpcuaGatewaySettings(state=folder, opcua_timeout_s=timeout_s)
    store, bounds = TrustStore(folder / "pki"), Bounds(seconds)
    return [step async for step in whole(climb(model_of(url, **more), settings, store, (), bounds))]


def failed(steps: list[Step]) -> Step:
    """The one that failed; what is above it was not tried."""
    (step,) = [each for each in steps if each.ends]
    rungs = list(Rung)
    above = {each.rung for each in steps if each.verdict is Verdict.NOT_REACHED}
    assert above == set(rungs[rungs.index(step.rung) + 1 :])
    assert step.code.startswith(CODES[step.rung])
    assert step.said and step.fix
    return step


async def test_a_name_and_a_port_that_are_not_there(tmp_path: Path) -> None:
    unknown = failed(await climbed("opc.tcp://no-such-host.invalid:4840", tmp_path))
    assert (unknown.rung, unknown.code[:4]) == (Rung.DNS, "E110")
    closed = failed(await climbed(f"opc.tcp://127.0.0.1:{ports.any_free()}", tmp_path))
    assert (closed.rung, closed.code) == (Rung.TCP, "E1201")


HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
OTHERS = [
    ({"says": HTTP}, "E1301", "an HTTP server answers at port"),
    ({"says": b"\x20\x02\x00\x05", "to": b"\x10"}, "E1301", "an MQTT broker answers"),
    ({"says": b"\x15\x03\x01\x00\x02\x02\x46"}, "E1301", "something that speaks TLS"),
    ({"says": b"SSH-2.0-x\r\n", "at_once": True}, "E1301", "an SSH server"),
    ({"says": b"\x05\x00\x00"}, "E1301", r"it begins b'\x05\x00\x00'"),
    ({"says": b"", "to": b"never"}, "E1302", "says nothing"),
    ({"says": b"", "hangs_up": True}, "E1303", "ends it before a word is said"),
    ({"says": error(0x807D0000, "full")}, "E1304", "BadTcpServerTooBusy"),
    ({"says": error(0x80830000)}, "E1305", "does not know the address opc.tcp://"),
    ({"says": error(0x80020000, "oh")}, "E1312", "BadInternalError"),
    ({"says": ACK}, "E1313", "does not say what it offers"),
]


@pytest.mark.parametrize(("listener", "code", "said"), OTHERS, ids=[each[2] for each in OTHERS])
async def test_what_answers_at_the_port_is_named(
    tmp_path: Path, listener: dict[str, Any], code: str, said: str
) -> None:
    async with answering(**listener) as url:
        step = failed(await climbed(url, tmp_path))
    assert (step.rung, step.code) == (Rung.ENDPOINT, code), step
    assert said in step.said


async def test_the_whole_climb_is_bounded_in_time(tmp_path: Path) -> None:
    async with answering(ACK) as url:
        step = failed(await climbed(url, tmp_path, seconds=0.3, timeout_s=5.0))
    assert step.code == "E1399"
    assert step.said == "0.3 s are over, and this step did not end"


async def test_a_fault_of_ours_is_a_step_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(url: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ladder, "who_answers", breaks)
    async with answering(ACK) as url:
        step = failed(await climbed(url, tmp_path))
    assert step.code == "E1398"
    assert "RuntimeError: a bug" in step.said
    assert "the ladder broke" in caplog.text


async def test_whoever_stops_listening_stops_the_climb(tmp_path: Path) -> None:
    async with answering(ACK) as url:
        settings = OpcuaGatewaySettings(state=tmp_path, opcua_timeout_s=30)
        steps = climb(model_of(url), settings, TrustStore(tmp_path / "pki"))
        async for step in steps:
            assert step.rung is Rung.DNS
            break
        await asyncio.wait_for(steps.aclose(), 2)  # type: ignore[attr-defined]


def check(store: TrustStore, server: Made | bytes, **security: Any) -> Step:
    """The step of a certificate that our own check refuses."""
    model = model_of("opc.tcp://127.0.0.1:4840", security={"policy": "best", **security})
    offered = ua.EndpointDescription(
        ServerCertificate=server if isinstance(server, bytes) else server.der,
        Server=ua.ApplicationDescription(ApplicationUri=URI),
    )
    with pytest.raises(CertificateRefused) as refused:
        Endpoints(model, (), store, "gateway").check(offered)
    return step_of(refused.value, Rung.CERTIFICATE, Tried(model, store))


def test_each_fault_of_a_servers_certificate_has_its_sentence(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "pki")
    ended = make(ends=NOW - DAY)
    store.trust(ended.certificate)
    step = check(store, ended)
    assert step.code == "E1403"
    assert f"it ended on {NOW - DAY:%Y-%m-%d}" in step.said
    early = make(begins=NOW + DAY)
    store.trust(early.certificate)
    assert "is not valid before" in check(store, early).said
    weak = make(bits=1024)
    store.trust(weak.certificate)
    step = check(store, weak)
    assert step.code == "E1408"
    assert "1024 bits" in step.said and "waive: [key_strength]" in step.fix
    assert check(store, b"0\x03abc").code == "E1409"
    # All that is wrong is said at once, what is to be mended first before.
    both = make(hosts=("plc-9",), ends=NOW - DAY)
    store.trust(both.certificate)
    step = check(store, both)
    assert step.code == "E1403"
    assert "and beside that, it is made for plc-9, not for 127.0.0.1" in step.said


def test_what_an_issuer_says_of_a_certificate_has_its_sentence(tmp_path: Path) -> None:
    store, issuer = TrustStore(tmp_path / "pki"), authority()
    server = make("server", issuer)
    store.trust(issuer.certificate)
    step = check(store, server)
    assert step.code == "E1407"
    assert f"{store.folder}/crl" in step.fix
    folder = store.folder / "crl"
    folder.mkdir()
    revoked = revocation_list(issuer, server)
    (folder / "list.crl").write_bytes(revoked.public_bytes(Encoding.DER))
    assert check(store, server).code == "E1406"


def tried(folder: Path, **more: Any) -> Tried:
    return Tried(
        model_of("opc.tcp://plc:4840", security={"policy": "best"}),
        TrustStore(folder / "pki"),
        **more,
    )


def test_a_server_that_refuses_our_certificate_is_told_how_to_trust_it(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "pki")
    own = store.own("urn:us", ["us"], datetime.now(UTC))
    theirs = make().certificate
    known = tried(tmp_path, ours=own, theirs=theirs)
    cause = ua.uaerrors.BadSecurityChecksFailed()
    refused = CertificateRefused("(BadSecurityChecksFailed): x", refusal=Refusal.OURS_REFUSED)
    refused.__cause__ = cause
    step = step_of(refused, Rung.SIGN_IN, known)
    assert (step.rung, step.code) == (Rung.CERTIFICATE, "E1411")
    assert str(own.file) in step.fix
    assert step.facts["own_sha256"] == own.sha256
    assert step.facts["server_sha256"] == sha256_of(theirs)
    # What servers show of a certificate is mostly its SHA-1, OPC UA's thumbprint.
    ours = x509.load_der_x509_certificate(own.der)
    assert step.facts["own_sha1"] == ours.fingerprint(hashes.SHA1()).hex().upper()
    assert step.facts["server_sha1"] == theirs.fingerprint(hashes.SHA1()).hex().upper()
    refused.__cause__ = AssertionError()
    assert step_of(refused, Rung.SIGN_IN, known).code == "E1412"


def lost(status: int) -> SessionLost:
    with pytest.raises(SessionLost) as raised, translated("ask"):
        raise ua.UaStatusCodeError(status)
    return raised.value


RAISED = [
    (Unacceptable("it is another", refusal=Refusal.LIST_CHANGED), Rung.SIGN_IN, "E1311"),
    (CertificateRefused("x", refusal=Refusal.NOT_PROVEN), Rung.SIGN_IN, "E1414"),
    (CertificateRefused("x", refusal=Refusal.NO_OWN), Rung.CERTIFICATE, "E1413"),
    (SignInRefused("x", refusal=Refusal.TOKEN_UNKNOWN), Rung.SIGN_IN, "E1505"),
    (SignInRefused("x", refusal=Refusal.USER_UNPROVEN), Rung.SIGN_IN, "E1505"),
    (SignInRefused("x", refusal=Refusal.PASSWORD_IN_CLEAR), Rung.SIGN_IN, "E1504"),
    (TooManySubscriptions("x"), Rung.SUBSCRIBE, "E1601"),
    (lost(ua.StatusCodes.BadTooManySessions), Rung.SIGN_IN, "E1509"),
    (SessionLost("it hangs up"), Rung.SIGN_IN, "E1510"),
    (SessionLost("it hangs up"), Rung.SUBSCRIBE, "E1607"),
    (SessionLost("it hangs up"), Rung.VALUES, "E1704"),
    (SessionLost("it hangs up"), Rung.CLOCK, "E1704"),
    (lost(ua.StatusCodes.BadServerTooBusy), Rung.SIGN_IN, "E1304"),
]


@pytest.mark.parametrize(("error_", "at", "code"), RAISED)
def test_whatever_the_gateway_raises_has_its_sentence(
    tmp_path: Path, error_: SessionLost, at: Rung, code: str
) -> None:
    step = step_of(error_, at, tried(tmp_path, way=Way()))
    assert step.code == code
    assert step.ends and step.said and step.fix
    assert "{" not in step.said


def test_a_password_policy_that_the_server_does_not_take_itself(tmp_path: Path) -> None:
    refused = SignInRefused("x", refusal=Refusal.USER_REFUSED)
    refused.__cause__ = ua.uaerrors.BadSecurityPolicyRejected()
    model = model_of("opc.tcp://plc:4840", user="a", password_env="P")
    assert step_of(refused, Rung.SIGN_IN, Tried(model, TrustStore(tmp_path))).code == "E1508"


S, H = 1_000_000, 3_600_000_000
T = 1_800_000_000 * S
CLOCKS = [
    ([(1, T, T), (2, T + S, T + S)], 0, None),
    ([(1, T - 90 * H, T)], 0, None),  # it did not change for days
    ([(1, T - 2 * H, T)], 0, None),  # nor is this known to be local time
    ([(1, T + 2 * H, T)], 0, (Fault.LOCAL, 2 * H)),
    ([(1, T - 9 * H, T), (2, T - 5 * H, T + S)], 0, (Fault.LOCAL, -5 * H)),
    ([(1, T, T), (2, T + 5 * H + H // 2, T)], 0, (Fault.LOCAL, 5 * H + H // 2)),
    ([(1, T, T), (2, T + 2 * H, T)], 2 * H, None),  # the server's own clock is off
    ([(1, T, T), (2, T + 7 * 60 * S, T)], 0, None),
    ([(1, T, T), (2, T + 20 * H, T)], 0, (Fault.IMPOSSIBLE, T + 20 * H)),
    ([(1, 1000 * S, T)], 0, (Fault.IMPOSSIBLE, 1000 * S)),
    ([(1, None, T)], 0, (Fault.NONE_GIVEN, 0)),
    ([(1, T, T), (2, None, T)], 0, (Fault.NONE_GIVEN, 0)),
    ([(1, T, T), (2, T, T), (3, T, T)], 0, (Fault.STUCK, T)),
    ([(1, T, T), (2, T, T), (1, T, T)], 0, None),
    ([], 0, None),
]


@pytest.mark.parametrize(("seen", "ahead", "expected"), CLOCKS)
def test_times_of_values_say_what_is_wrong_with_a_clock(
    seen: list[tuple[int, int | None, int]], ahead: int, expected: object
) -> None:
    times = Times()
    for value, at, got in seen:
        times.add(value, at, got)
    assert fault_of(times, ahead) == expected


def test_a_zone_is_named_by_its_clock_of_today() -> None:
    winter, summer = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)
    assert zone_for(H, winter) == "Europe/Oslo (UTC+1)"
    assert zone_for(2 * H, summer) == "Europe/Oslo (UTC+2)"
    assert zone_for(2 * H, winter, ["Europe/Athens"]) == "Europe/Athens (UTC+2)"
    assert zone_for(5 * H + H // 2, winter) == "Asia/Kolkata (UTC+5:30)"
    assert zone_for(-3 * H - H // 2, winter) == "UTC-3:30"
    amounts = (1_500_000, -40 * S, 600 * S, 2 * H + 900 * S, 99 * H)
    assert [*map(shown_offset, amounts)] == ["1.5 s", "40 s", "10 min", "2 h 15 min", "4 days"]


def test_a_name_that_is_nearly_right_is_found() -> None:
    known = {"line1.press.force": "s=Line1.Press.Force", "line1.press.temp": "s=Line1.Press.Temp"}
    assert nearest(["Line1.Pres.Forse"], known) == ["s=Line1.Press.Force", "s=Line1.Press.Temp"]
    assert nearest(["something else"], known) == []


def test_every_sentence_is_in_the_documentation_as_it_is_said() -> None:
    documented = DOCS.read_text(encoding="utf-8")
    assert "\n".join(table()).strip() in documented, "python -m opcua_gateway.connect.saying"
    kit = (Path(ladder.__file__).parents[3] / "shared/aurelian/edge/ladder.py").read_text()
    missing = [code for code in re.findall(r"E1\d\d\d", kit) if code not in documented]
    assert not missing


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_belongs_to_its_rung_and_says_what_to_do(code: str) -> None:
    sentence = SENTENCES[code]
    assert rung_of(code) in Rung
    assert sentence.title and sentence.said and sentence.fix
    for text in (sentence.said, sentence.fix):
        assert not text.endswith("."), text
        list(Formatter().parse(text))
    assert not set(OF_ANY) & {code[3:]}
