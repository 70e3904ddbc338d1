"""Whether a server's certificate is to be believed (part 4, 6.1.3). Pure; asked by endpoints.py
before a channel is opened.

asyncua's own validator is not used: without a trust list it accepts everyone, revocation lists it
looks up by serial number alone, and host names never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from aurelian.edge.certificates import (
    UNREADABLE,
    check_readable,
    hosts_of,
    sha256_of,
    uris_of,
    weak_key,
    weak_signature,
)
from aurelian.edge.trust_store import Lists

_MOST_ISSUERS = 8
_MOST_STEPS = 200  # a server may send what makes the ways endless
_UNSIGNED = (*UNREADABLE, InvalidSignature)

UNTRUSTED, REVOKED, UNUSABLE = "trust", "revoked", "key_kind"
"""Names of the checks that no source can waive."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A check that a certificate does not pass.

    Attributes:
        check: which one, by the name under which a source waives it.
        reason: what is wrong, as a sentence without its end.
    """

    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What the certificate has to say.

    Attributes:
        uri: ApplicationUri.
        host: name or number under which we connect.
        sha256: the only certificate that is accepted; empty: the lists decide.
    """

    uri: str
    host: str
    sha256: str = ""


def split_chain(der: bytes) -> list[x509.Certificate]:
    """The certificates that a server sent, its own first.

    Raises:
        ValueError: it is none.
    """
    chain = []
    while der:
        size = _der_size(der)
        chain.append(x509.load_der_x509_certificate(der[:size]))
        try:
            check_readable(chain[-1])
        except UNREADABLE as error:
            raise ValueError(str(error)) from error
        der = der[size:]
    if not chain:
        raise ValueError("it has no certificate")
    return chain


def find_faults(
    chain: Sequence[x509.Certificate],
    lists: Lists,
    expected: Expected,
    now: datetime,
    waive: Container[str] = (),
) -> list[Fault]:
    """The checks that a server's certificate does not pass, the gravest first; empty: it is
    believed.

    Args:
        chain: what the server sent, its own certificate first; the others only complete the way to
            an issuer that is trusted.
        waive: checks that are left out. Of issuers only their lists and the strength of their keys
            can be: a waiver is for what a device cannot do better.
    """
    own, sent = chain[0], chain[1 : 1 + _MOST_ISSUERS]
    faults = _trust_faults(own, sent, lists, expected, now, waive)
    faults += _validity_faults(own, "it", now)
    if (uris := uris_of(own)) != (expected.uri,):
        named = ", ".join(map(repr, uris)) or "none"
        reason = f"its ApplicationUri is {named}, expected is {expected.uri!r}"
        faults.append(Fault("application_uri", reason))
    if not _is_for_host(own, expected.host):
        named = ", ".join(hosts_of(own)) or "no host"
        faults.append(Fault("host_name", f"it is made for {named}, not for {expected.host}"))
    faults += _usage_faults(own)
    faults += _strength_faults(own)
    return [each for each in faults if each.check not in waive]


def _trust_faults(
    own: x509.Certificate,
    sent: Sequence[x509.Certificate],
    lists: Lists,
    expected: Expected,
    now: datetime,
    waive: Container[str],
) -> list[Fault]:
    if expected.sha256:
        if sha256_of(own) == expected.sha256:
            return []
        return [Fault(UNTRUSTED, "it is not the one that `server_sha256` names")]
    is_trusted, faults = _best_way(own, sent, lists, now, waive)
    if own in lists.trusted:
        # Accepted by name: a list that is missing says nothing against it, one that revokes it
        # does.
        return [each for each in faults if each.check == REVOKED]
    if is_trusted:
        return faults
    candidates = (*lists.trusted, *lists.issuers, *sent)
    if own.issuer != own.subject and not any(_is_issuer(each, own) for each in candidates):
        issuer = own.issuer.rfc4514_string()
        return [
            Fault(UNTRUSTED, f"it is not trusted, and the certificate of its issuer ({issuer}) "
            "is in neither `trusted` nor `issuers`")
        ]  # fmt: skip
    return [Fault(UNTRUSTED, "it is not trusted")]


def _best_way(
    own: x509.Certificate,
    sent: Sequence[x509.Certificate],
    lists: Lists,
    now: datetime,
    waive: Container[str],
) -> tuple[bool, list[Fault]]:
    """Whether issuers lead from a certificate up to one that is trusted, and what is wrong on the
    way. Of several ways the one with the least wrong: an issuer's certificate that ended may lie
    beside the one that came after it."""
    candidates = tuple(dict.fromkeys((*lists.trusted, *lists.issuers, *sent)))
    ended: list[tuple[bool, list[Fault]]] = [(False, [])]
    open_: deque[tuple[list[x509.Certificate], list[Fault]]] = deque()
    if own.issuer != own.subject:
        open_.append(([own], []))
    for _ in range(_MOST_STEPS):
        if not open_:
            break
        way, faults = open_.popleft()
        for issuer in candidates:
            if issuer in way or not _is_issuer(issuer, way[-1]):
                continue
            is_trusted = issuer in lists.trusted
            found = faults + _issuer_faults(way, issuer, is_trusted, lists, now)
            further = [*way, issuer]
            ended.append((is_trusted, [each for each in found if each.check not in waive]))
            if not is_trusted and len(further) <= _MOST_ISSUERS:
                open_.append((further, found))
    return min(ended, key=_gravity)


def _gravity(way: tuple[bool, Sequence[Fault]]) -> tuple[bool, bool, int, int]:
    is_trusted, faults = way
    checks = [each.check for each in faults]
    if not is_trusted:
        # Of ways that lead nowhere the one that tells most: a list may revoke on it.
        return True, REVOKED not in checks, 0, -len(checks)
    return False, REVOKED in checks, checks.count(UNTRUSTED), len(checks)


def _issuer_faults(
    below: Sequence[x509.Certificate],
    issuer: x509.Certificate,
    is_trusted: bool,
    lists: Lists,
    now: datetime,
) -> list[Fault]:
    """What is wrong with an issuer of the last certificate of `below`, a way up from the
    server's."""
    faults = _revocation_faults(below[-1], issuer, lists.crls, now)
    name = f"its issuer {issuer.subject.rfc4514_string()}"
    faults += [Fault(UNTRUSTED, each.reason) for each in _validity_faults(issuer, name, now)]
    if (limit := _path_length(issuer)) is not None and limit < len(below) - 1:
        faults.append(Fault(UNTRUSTED, f"{name} may have no issuer below it"))
    if _is_constrained(issuer):
        reason = f"{name} limits the names that it certifies, which is not understood here"
        faults.append(Fault(UNTRUSTED, reason))
    # What is trusted is so by itself: who signed it does not matter.
    weak = weak_key(issuer) or ("" if is_trusted else weak_signature(issuer))
    if weak:
        faults.append(Fault("key_strength", f"{name} has {weak}"))
    return faults


def _is_issuer(candidate: x509.Certificate, certificate: x509.Certificate) -> bool:
    if candidate.subject != certificate.issuer or not _may_issue(candidate):
        return False
    try:
        certificate.verify_directly_issued_by(candidate)
    except _UNSIGNED:
        return _is_signed_with_sha1(candidate, certificate, certificate.tbs_certificate_bytes)
    return True


def _is_signed_with_sha1(
    issuer: x509.Certificate,
    signed: x509.Certificate | x509.CertificateRevocationList,
    body: bytes,
) -> bool:
    """Whether an issuer signed something with SHA-1, which the library does not look at any more:
    the reason of a refusal shall be that, and a source may waive it."""
    key = issuer.public_key()
    if signed.signature_algorithm_oid != SignatureAlgorithmOID.RSA_WITH_SHA1:
        return False
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(signed.signature, body, PKCS1v15(), SHA1())
    except _UNSIGNED:
        return False
    return True


def _path_length(certificate: x509.Certificate) -> int | None:
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    return basic.path_length


def _is_constrained(certificate: x509.Certificate) -> bool:
    try:
        certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    usage = _usage_of(certificate)
    return basic.ca and (usage is None or usage.key_cert_sign)


def _revocation_faults(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> list[Fault]:
    name = issuer.subject.rfc4514_string()
    of_issuer = [crl for crl in crls if crl.issuer == issuer.subject and _is_signed(crl, issuer)]
    for crl in of_issuer:
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            return [Fault(REVOKED, f"it was revoked by its issuer {name}")]
    if not of_issuer:
        return [Fault("revocation", f"the revocation list of {name} is not in `crl`")]
    faults = []
    strong = [crl for crl in of_issuer if not weak_signature(crl)]
    if not strong:
        reason = f"the revocation list of {name} has {weak_signature(of_issuer[0])}"
        faults.append(Fault("key_strength", reason))
    ends = [crl.next_update_utc for crl in strong or of_issuer]
    if all(end is not None and end < now for end in ends):
        reason = f"the revocation list of {name} is out of date; get a new one"
        faults.append(Fault("revocation", reason))
    return faults


def _is_signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        if crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
            return True
    except _UNSIGNED:
        pass
    return _is_signed_with_sha1(issuer, crl, crl.tbs_certlist_bytes)


def _validity_faults(certificate: x509.Certificate, what: str, now: datetime) -> list[Fault]:
    if now < certificate.not_valid_before_utc:
        begins = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        reason = f"{what} is not valid before {begins}: is a clock wrong?"
        return [Fault("validity", reason)]
    if now > certificate.not_valid_after_utc:
        return [Fault("validity", f"{what} ended on {certificate.not_valid_after_utc:%Y-%m-%d}")]
    return []


def _is_for_host(certificate: x509.Certificate, host: str) -> bool:
    names = {name.lower().rstrip(".") for name in hosts_of(certificate)}
    try:
        number = ip_address(host)
    except ValueError:
        wanted = host.lower().rstrip(".")
        return wanted in names or f"*.{wanted.partition('.')[2]}" in names
    if number.is_loopback and "localhost" in names:
        return True
    return str(number) in names


def _usage_of(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _usage_faults(certificate: x509.Certificate) -> list[Fault]:
    usage = _usage_of(certificate)
    if usage is None:
        return [Fault("key_usage", "it does not say what its key may be used for")]
    # What signing and encrypting a channel's opening needs; many devices leave the others out.
    if not (usage.digital_signature and (usage.key_encipherment or usage.data_encipherment)):
        return [Fault("key_usage", "its key may not be used to sign and encrypt")]
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    known = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if known.isdisjoint(extended):
        return [Fault("key_usage", "it is not made for a server")]
    return []


def _strength_faults(certificate: x509.Certificate) -> list[Fault]:
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        reason = "its key is not RSA, and the security policies that are understood here need RSA"
        return [Fault(UNUSABLE, reason)]
    weak = (weak_key(certificate), weak_signature(certificate))
    return [Fault("key_strength", f"it has {each}") for each in weak if each]


def _der_size(der: bytes) -> int:
    """Bytes of the ASN.1 SEQUENCE at the start."""
    if len(der) < 2 or der[0] != 0x30:
        raise ValueError("it is no certificate")
    if der[1] < 0x80:
        size = 2 + der[1]
    else:
        digits = der[1] & 0x7F
        size = 2 + digits + int.from_bytes(der[2 : 2 + digits], "big")
    if size > len(der):
        raise ValueError("the certificate is cut off")
    return size
