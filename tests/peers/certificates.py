"""Certificates as other people's tools make them, good and bad, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

URI = "urn:aurelian-test:node-opcua"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """The files of certificate and key, PEM."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        certificate.write_bytes(self.pem)
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, key


def make(
    name: str = "server",
    issuer: Made | None = None,
    *,
    uris: Sequence[str] = (URI,),
    hosts: Sequence[str] = ("127.0.0.1", "plc.example"),
    begins: datetime = NOW - 10 * DAY,
    ends: datetime = NOW + 10 * DAY,
    bits: int = 2048,
    ca: bool = False,
    usage: bool | None = True,
    extended: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
    algorithm: hashes.HashAlgorithm | None = None,
    path_length: int | None = None,
    only_for: str = "",
    key: rsa.RSAPrivateKey | None = None,
) -> Made:
    """A certificate, signed by `issuer` or by itself; `usage`: whether its key may encrypt, None:
    it does not say; `key`: one that is there already."""
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    if uris or hosts:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        for host in hosts:
            try:
                names.append(x509.IPAddress(ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if only_for:
        names_of = x509.NameConstraints([x509.DNSName(only_for)], None)
        builder = builder.add_extension(names_of, critical=True)
    if usage is not None:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=usage,
                data_encipherment=usage,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    signer = key if issuer is None else issuer.key
    return Made(builder.sign(signer, algorithm or hashes.SHA256()), key)


def authority(
    name: str = "authority",
    issuer: Made | None = None,
    *,
    path_length: int | None = None,
    only_for: str = "",
    ends: datetime = NOW + 10 * DAY,
    bits: int = 2048,
    key: rsa.RSAPrivateKey | None = None,
) -> Made:
    """One that issues certificates, to as many issuers below it, for names of one domain."""
    return make(
        name,
        issuer,
        uris=(),
        hosts=(),
        ca=True,
        extended=(),
        path_length=path_length,
        only_for=only_for,
        ends=ends,
        bits=bits,
        key=key,
    )


def with_sha1(made: Made, issuer: Made) -> Made:
    """The same certificate, signed with SHA-1 as they were long ago; the library signs so no
    more."""
    der = _signed_with_sha1(made.certificate.tbs_certificate_bytes, issuer)
    return Made(x509.load_der_x509_certificate(der), made.key)


def list_with_sha1(
    crl: x509.CertificateRevocationList, issuer: Made
) -> x509.CertificateRevocationList:
    """The same revocation list, signed with SHA-1."""
    return x509.load_der_x509_crl(_signed_with_sha1(crl.tbs_certlist_bytes, issuer))


def _signed_with_sha1(body: bytes, issuer: Made) -> bytes:
    body = body.replace(_OF_SHA256, _OF_SHA1)
    signature = issuer.key.sign(body, padding.PKCS1v15(), hashes.SHA1())
    # RFC 5280, 4.1 and 5.1: body, algorithm, signature in a BIT STRING without unused bits.
    parts = body + b"\x30\x0d" + _OF_SHA1 + b"\x05\x00"
    parts += b"\x03" + _size(len(signature) + 1) + b"\x00" + signature
    return b"\x30" + _size(len(parts)) + parts


def with_curve(made: Made, issuer: Made) -> x509.Certificate:
    """A certificate that says the same of a key of an elliptic curve."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(made.certificate.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made.certificate.not_valid_before_utc)
        .not_valid_after(made.certificate.not_valid_after_utc)
    )
    for each in made.certificate.extensions:
        builder = builder.add_extension(each.value, each.critical)
    return builder.sign(issuer.key, hashes.SHA256())


_OF_SHA256 = bytes.fromhex("06092a864886f70d01010b")
_OF_SHA1 = bytes.fromhex("06092a864886f70d010105")


def _size(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(digits), *digits))


def revocation_list(
    of: Made,
    *revoked: Made,
    signer: Made | None = None,
    next_update: datetime = NOW + DAY,
) -> x509.CertificateRevocationList:
    """The list of an authority; `signer`: who signs it in its name."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(of.certificate.subject)
        .last_update(NOW - 20 * DAY)
        .next_update(next_update)
    )
    for each in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(each.certificate.serial_number)
            .revocation_date(NOW - DAY)
            .build()
        )
    return builder.sign((signer or of).key, hashes.SHA256())
