"""The guard of outgoing webhooks against hostile URLs and addresses."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from partner_events.ssrf import (
    Allowed,
    GuardedTransport,
    Refused,
    Target,
    check_url,
    choose_address,
    is_public,
    parse_allowed,
)

NOTHING = Allowed()

HOSTILE = [
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "//example.com/",
    "example.com",
    "",
    "https://",
    "https:///path",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://127.0.0.0x1/",
    "https://127.0.0.1./",
    "https://127.0.0.01/",
    "https://10.1.2.3/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://240.0.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:53aa:64c:0:fbff:80ff:fffe]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1#@example.com/",
    "https://example.com#fragment",
    "https://example.com\\@127.0.0.1/",
    "https://example.com\t.evil.com/",
    "https://example.com\r\nHost: evil/",
    "https://exam ple.com/",
    "https://example.com%2f@127.0.0.1/",
    "https://%31%32%37.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://１２７.0.0.1/",
    "https://exämple.com/",
    "https://example.com:22/",
    "https://example.com:80/",
    "https://example.com:0443443/",
    "https://example.com:99999/",
    "https://example.com:-1/",
    "https://..example.com/",
    "https://.example.com/",
    "https://example..com/",
    "https://example.com/" + "a" * 3000,
]


@pytest.mark.parametrize("url", HOSTILE, ids=[f"{n:02}" for n in range(len(HOSTILE))])
def test_a_hostile_url_is_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url, NOTHING)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("example.com", 443, True)),
        ("https://Example.COM/hook?a=b", Target("example.com", 443, True)),
        ("https://example.com:8443/x", Target("example.com", 8443, True)),
        ("https://xn--exmple-cua.com/", Target("xn--exmple-cua.com", 443, True)),
        ("https://8.8.8.8/", Target("8.8.8.8", 443, True)),
        ("https://[2606:4700::1111]/", Target("2606:4700::1111", 443, True)),
        ("https://hooks.1password.com/", Target("hooks.1password.com", 443, True)),
    ],
)
def test_a_plain_public_url_is_taken(url: str, target: Target) -> None:
    assert check_url(url, NOTHING) == target


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.0.0.1", "169.254.169.254"],
        ["::ffff:192.168.0.1"],
        ["fe80::1%eth0"],
        [],
    ],
)
def test_a_name_that_leads_inside_is_refused(answers: list[str]) -> None:
    with pytest.raises(Refused, match="no public address"):
        choose_address(Target("rebind.example", 443, True), answers, NOTHING)


def test_of_mixed_answers_only_a_public_one_is_called() -> None:
    target = Target("rebind.example", 443, True)
    assert choose_address(target, ["127.0.0.1", "8.8.8.8"], NOTHING) == "8.8.8.8"


def test_an_allow_list_relaxes_by_name_and_by_network_and_nothing_else() -> None:
    allowed = parse_allowed("127.0.0.0/8, hooks.plant.lan:8080, [::1]:9000")
    assert check_url("http://127.0.0.1:5000/x", allowed).port == 5000
    assert check_url("http://hooks.plant.lan:8080/", allowed).host == "hooks.plant.lan"
    assert check_url("http://[::1]:9000/", allowed).host == "::1"
    for url in (
        "http://10.0.0.1:5000/",
        "https://10.0.0.1/",
        "http://[::1]:9001/",
        "http://127.1:5000/",
    ):
        with pytest.raises(Refused):
            check_url(url, allowed)
    target = check_url("http://localhost:5000/", allowed)
    assert choose_address(target, ["::1", "127.0.0.1"], allowed) == "127.0.0.1"
    for answers, text in ((["8.8.8.8"], "http"), (["10.0.0.1"], "http")):
        with pytest.raises(Refused, match=text):
            choose_address(target, answers, allowed)
    with pytest.raises(Refused, match="port 8081"):
        choose_address(check_url("https://hooks.plant.lan:8081/", allowed), ["8.8.8.8"], allowed)
    assert (
        choose_address(Target("hooks.plant.lan", 8080, False), ["192.168.7.7"], allowed)
        == "192.168.7.7"
    )


def test_an_unreadable_allow_list_is_refused() -> None:
    with pytest.raises(ValueError, match="neither host"):
        parse_allowed("127.0.0.0/8, http://example.com/")


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "::{}", "64:ff9b::{}"]))
def test_no_ipv4_address_hides_in_an_ipv6_one(address: object, form: str) -> None:
    assert not is_public(ip_address(form.format(address)))


@given(st.ip_addresses())
def test_what_is_public_is_global(address: object) -> None:
    parsed = ip_address(str(address))
    assert not is_public(parsed) or (parsed.is_global and not parsed.is_multicast)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[bytes]
) -> None:
    seen.append(await reader.readuntil(b"\r\n\r\n"))
    writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_the_name_is_resolved_once_and_the_checked_address_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bytes] = []
    server = await asyncio.start_server(lambda r, w: _answer(r, w, seen), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asked: list[str] = []

    async def getaddrinfo(host: str, asked_port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        # The second answer would lead elsewhere: a rebinding name server.
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, asked_port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    allowed = parse_allowed("127.0.0.0/8")
    async with (
        server,
        httpx.AsyncClient(transport=GuardedTransport(allowed), trust_env=False) as client,
    ):
        answer = await client.post(f"http://rebind.example:{port}/hook", content=b"{}")
    assert answer.status_code == 204
    assert asked == ["rebind.example"]
    assert f"host: rebind.example:{port}".encode() in seen[0].lower()


async def test_an_ipv6_target_is_called_with_brackets() -> None:
    seen: list[bytes] = []
    try:
        server = await asyncio.start_server(lambda r, w: _answer(r, w, seen), "::1", 0)
    except OSError:
        pytest.skip("cannot run here: no IPv6 on loopback")
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        httpx.AsyncClient(transport=GuardedTransport(parse_allowed("::1"))) as client,
    ):
        assert (await client.post(f"http://[::1]:{port}/")).status_code == 204
    assert f"host: [::1]:{port}".encode() in seen[0].lower()


def _certificate(name: str, folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate of its own for `name`, in `folder`/cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_tls_is_checked_for_the_name_although_the_address_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[bytes] = []
    named: list[str | None] = []
    context = _certificate("hook.example", tmp_path)
    context.sni_callback = lambda _, name, __: named.append(name)
    server = await asyncio.start_server(
        lambda r, w: _answer(r, w, seen), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]

    async def getaddrinfo(host: str, asked_port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", asked_port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    transport = GuardedTransport(parse_allowed("127.0.0.0/8"), trust)
    async with server, httpx.AsyncClient(transport=transport, trust_env=False) as client:
        assert (await client.post(f"https://hook.example:{port}/")).status_code == 204
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.post(f"https://other.example:{port}/")
    assert named == ["hook.example", "other.example"]
    assert len(seen) == 1
