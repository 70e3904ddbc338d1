"""Which certificate a broker shows, looked at before anything secret is said. Used by the
ladder."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509

from aurelian.model.mqtt_model import MqttTls
from mqtt_gateway.address import Address

_NO_NAME = "without a name"


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
    der = await _handshake(address, tls, first, timeout_s)
    pem = ssl.DER_cert_to_PEM_cert(der)
    try:
        found = x509.load_der_x509_certificate(der)
        names = _names(found)
    except ValueError:  # so odd that nothing but its sum can be told
        return Shown(_fingerprint(der), _NO_NAME, _NO_NAME, (), "?", "?", pem)
    return Shown(
        sha256=_fingerprint(der),
        subject=_name(found.subject),
        issuer=_name(found.issuer),
        names=names,
        not_before=f"{found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
        not_after=f"{found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
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
) -> bytes:
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=context,
            server_hostname=tls.server_name or address.host,
        )
    try:
        secured: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return secured.getpeercert(binary_form=True) or b""
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await writer.wait_closed()


def _fingerprint(der: bytes) -> str:
    digits = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digits[n : n + 2] for n in range(0, len(digits), 2))


def _names(of: x509.Certificate) -> tuple[str, ...]:
    """The hosts that it is for."""
    try:
        names = of.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(each.value) for each in names)


def _name(of: x509.Name) -> str:
    """`CN=broker, O=Works`."""
    return ", ".join(each.rfc4514_string() for each in of)[:300] or _NO_NAME
