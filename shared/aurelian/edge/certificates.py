"""Certificates as files and bytes: what they say of themselves, and one of our own, signed by
itself. Used by the trust store and by whoever checks a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

VALID = timedelta(days=730)
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises of a certificate that it cannot understand."""

_MOST_BYTES = 20_000_000  # a revocation list of a large authority
_LEAST_RSA_BITS = 2048
_LEAST_CURVE_BITS = 224  # as strong as RSA of 2048 bits
_SHA2 = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_WITHOUT_HASH = (SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ED448)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a certificate of ours is for.

    Attributes:
        name: its common name.
        usage: what its key is for beside signing and encrypting.
        shown: that in a sentence.
    """

    name: str
    usage: x509.ObjectIdentifier
    shown: str


GATEWAY = Kind("Aurelian OPC UA gateway", ExtendedKeyUsageOID.CLIENT_AUTH, "client")
PILOT_PLANT = Kind("Aurelian pilot plant", ExtendedKeyUsageOID.SERVER_AUTH, "server")


class TrustError(Exception):
    """Something cannot be had of the folder; the text says what and why."""


def sha256_of(certificate: x509.Certificate) -> str:
    """A certificate's fingerprint: upper-case hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex().upper()


def sha1_of(der: bytes) -> str:
    """The fingerprint of a certificate in DER that OPC UA calls its thumbprint (part 4, 7.2), and
    that most servers and tools show beside it or alone: upper-case hexadecimal digits. It is there
    to be compared by people; nothing is trusted by it."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def shown(sha256: str) -> str:
    """A fingerprint's beginning as people compare it: `3F:A9:…`, eight bytes."""
    return ":".join(sha256[at : at + 2] for at in range(0, 16, 2))


def uris_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The URIs of a certificate's subject alternative name."""
    names = _alternative_names(certificate)
    return () if names is None else tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and addresses of a certificate's subject alternative name."""
    names = _alternative_names(certificate)
    if names is None:
        return ()
    numbers = map(str, names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *numbers)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):  # none, or an extension that nobody can parse
        return None
    return extension.value


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a file, DER or PEM.

    Raises:
        TrustError: it has none, or one that cannot be understood.
        OSError: it cannot be read.
    """
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
        for each in found:
            check_readable(each)
    except UNREADABLE as error:
        raise TrustError(f"{path} is no certificate: {error}") from error
    return found


def check_readable(certificate: x509.Certificate) -> None:
    """Parse all that is asked of a certificate later: the library does so only when it is asked.

    Raises:
        One of UNREADABLE.
    """
    for name in (certificate.subject, certificate.issuer):
        name.rfc4514_string()
    certificate.public_key()
    _ = certificate.extensions, certificate.not_valid_before_utc, certificate.not_valid_after_utc


def read_crls(path: Path) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a file, DER or PEM. Raises as `read_certificates`."""
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            found = x509.load_pem_x509_crl(data)
        else:
            found = x509.load_der_x509_crl(data)
        _ = found.issuer, found.next_update_utc, found.extensions
    except UNREADABLE as error:
        raise TrustError(f"{path} is no revocation list: {error}") from error
    return [found]


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MOST_BYTES:
        raise TrustError(f"{path} has more than {_MOST_BYTES:,} bytes")
    return path.read_bytes()


def weak_key(certificate: x509.Certificate) -> str:
    """What makes a certificate's key too weak, say `a key of 1024 bits`; empty: nothing."""
    key = certificate.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return ""
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        least = _LEAST_RSA_BITS if isinstance(key, rsa.RSAPublicKey) else _LEAST_CURVE_BITS
        if key.key_size >= least:
            return ""
        return f"a key of {key.key_size} bits, at least {least} are needed"
    return "a key that is neither RSA nor of an elliptic curve"


def weak_signature(signed: x509.Certificate | x509.CertificateRevocationList) -> str:
    """What makes the signature of its issuer too weak, say `a signature with SHA1`; empty:
    nothing."""
    try:
        algorithm = signed.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "a signature made in an unknown way"
    if isinstance(algorithm, _SHA2) or signed.signature_algorithm_oid in _WITHOUT_HASH:
        return ""
    name = "an unknown algorithm" if algorithm is None else algorithm.name.upper()
    return f"a signature with {name}, SHA-2 is needed"


def unfit_for(kind: Kind, certificate: x509.Certificate, now: datetime) -> list[str]:
    """Why others may refuse a certificate as one of that kind (part 6, 6.2.2), as sentences
    without their end; empty: they have no reason to."""
    weak = (weak_key(certificate), weak_signature(certificate))
    found = [f"it has {each}" for each in weak if each]
    if len(uris := uris_of(certificate)) != 1:
        found.append(f"it carries {len(uris) or 'no'} ApplicationUri in place of one")
    if now < certificate.not_valid_before_utc:
        found.append(
            f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )
    if now > certificate.not_valid_after_utc:
        found.append(f"it ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not (
            value.digital_signature and (value.key_encipherment or value.data_encipherment)
        ):
            found.append("its key may not be used to sign and encrypt")
        usages = {kind.usage, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
        if isinstance(value, x509.ExtendedKeyUsage) and usages.isdisjoint(value):
            found.append(f"it is not made for a {kind.shown}")
    return found


def is_made_here(certificate: x509.Certificate) -> bool:
    """Whether a certificate is one of `self_signed`."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ours = {GATEWAY.name, PILOT_PLANT.name}
    return certificate.issuer == certificate.subject and any(n.value in ours for n in names)


def self_signed(
    key: rsa.RSAPrivateKey, uri: str, hosts: Sequence[str], now: datetime, kind: Kind = GATEWAY
) -> x509.Certificate:
    """What part 6, 6.2.2 asks of an application instance certificate: all four usages, one URI."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, kind.name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Aurelian"),
        ]
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    # A machine whose clock is a little behind ours must accept it at once.
    begins = now - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=True,
                data_encipherment=True,
                key_agreement=False,
                # A self-signed certificate issued itself; some servers insist (part 6, 6.2.2).
                key_cert_sign=True,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage([kind.usage]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def utc_now() -> datetime:
    """Now, for the validity of certificates."""
    return datetime.now(UTC)
