"""Which certificate a broker shows, looked at before anything secret is said. Used by the
ladder."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from aurelian.model.mqtt_model import MqttTls
from mqtt_gateway.address import Address


@dataclass(frozen=True, slots=True)
class Shown:
    """A broker's certificate; texts for people, `pem` for a file of `tls.ca_file`."""

    sha256: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: str
    not_after: str
    pem: str

    @property
    def is_self_signed(self) -> bool:
        """Whether it says that it has signed itself."""
        return self.subject == self.issuer

    @property
    def facts(self) -> dict[str, str]:
        """For a step."""
        return {
            "sha256": self.sha256,
            "subject": self.subject,
            "issuer": self.issuer,
            "names": " ".join(self.names),
            "not_before": self.not_before,
            "not_after": self.not_after,
            "pem": self.pem,
        }


async def shown_by(address: Address, timeout_s: float) -> Shown:
    """The certificate of a broker, whoever signed it.

    Raises:
        ssl.SSLError, OSError, TimeoutError: no TLS comes about.
    """
    tls = address.model.tls or MqttTls()
    first = _context(tls)
    first.verify_mode = ssl.CERT_NONE
    der, _ = await _handshake(address, tls, first, timeout_s)
    pem = ssl.DER_cert_to_PEM_cert(der)
    # The library gives what a certificate says only of one that it trusts: so it trusts this one.
    second = _context(tls)
    second.load_verify_locations(cadata=pem)
    said: dict[str, object] = {}
    with suppress(OSError, TimeoutError):
        _, said = await _handshake(address, tls, second, timeout_s)
    names = [str(each[1]) for each in _pairs(said.get("subjectAltName"))]
    return Shown(
        sha256=_fingerprint(der),
        subject=_name(said.get("subject")),
        issuer=_name(said.get("issuer")),
        names=tuple(names),
        not_before=_day(said.get("notBefore")),
        not_after=_day(said.get("notAfter")),
        pem=pem,
    )


async def wants_ours(address: Address, timeout_s: float) -> bool:
    """Whether the broker ends the handshake since we show no certificate. In TLS 1.2 it says so
    before anything else; in 1.3 only later, where its words may get lost with the connection."""
    tls = address.model.tls or MqttTls()
    context = _context(MqttTls(alpn=tls.alpn))
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        await _handshake(address, tls, context, timeout_s)
    except ssl.SSLError as error:
        said = str(error).upper()
        return "HANDSHAKE_FAILURE" in said or "CERTIFICATE" in said
    except (OSError, TimeoutError):
        return False
    return False


def _context(tls: MqttTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    if tls.certificate:
        with suppress(OSError):  # the connection itself says what is wrong with them
            context.load_cert_chain(tls.certificate, tls.key)
    return context


_NO_CHECK_TIME = 0x200000


async def _handshake(
    address: Address, tls: MqttTls, context: ssl.SSLContext, timeout_s: float
) -> tuple[bytes, dict[str, object]]:
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=context,
            server_hostname=tls.server_name or address.host,
        )
    try:
        secured: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return secured.getpeercert(binary_form=True) or b"", dict(secured.getpeercert() or {})
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await writer.wait_closed()


def _fingerprint(der: bytes) -> str:
    digits = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digits[n : n + 2] for n in range(0, len(digits), 2))


def _pairs(found: object) -> list[tuple[object, ...]]:
    return [each for each in found if isinstance(each, tuple)] if isinstance(found, tuple) else []


def _name(found: object) -> str:
    """`CN=broker, O=Works`."""
    parts = [pair for level in _pairs(found) for pair in _pairs(level)]
    short = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}
    return ", ".join(f"{short.get(str(k), k)}={v}" for k, v in parts)[:300] or "without a name"


def _day(found: object) -> str:
    if not isinstance(found, str):
        return "?"
    with suppress(ValueError):
        when = datetime.fromtimestamp(ssl.cert_time_to_seconds(found), UTC)
        return f"{when:%Y-%m-%d %H:%M} UTC"
    return found
