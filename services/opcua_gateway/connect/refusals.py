"""What the gateway's own attempt raised, as a step of the ladder. Pure; called by ladder.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.certificates import hosts_of, sha1_of, sha256_of, shown, uris_of
from aurelian.edge.ladder import Rung, Step
from aurelian.edge.trust_store import OwnCertificate, TrustStore
from aurelian.model.source_model import SourceModel
from opcua_gateway.connect.saying import say
from opcua_gateway.failures import TooManySubscriptions
from opcua_gateway.security.endpoints import Way
from opcua_gateway.security.policies import (
    NONE,
    CertificateRefused,
    Refusal,
    SignInRefused,
    Unacceptable,
    described,
    policy_of,
)
from opcua_gateway.security.server_certificate import REVOKED, UNTRUSTED
from opcua_gateway.security.sign_in import NOBODY, shown_identity, shown_tokens
from opcua_gateway.session import SessionLost

_FULL = frozenset(
    {
        ua.StatusCodes.BadTcpServerTooBusy,
        ua.StatusCodes.BadTcpNotEnoughResources,
        ua.StatusCodes.BadServerTooBusy,
    }
)
_OF_ENDPOINT = {
    Refusal.CLEAR_NOT_ALLOWED: "E1310",
    Refusal.NO_SECURITY: "E1307",
    Refusal.NO_CLEAR: "E1308",
    Refusal.NOT_OFFERED: "E1309",
    Refusal.LIST_CHANGED: "E1311",
}
_OF_CERTIFICATE = {
    Refusal.UNREADABLE: "E1409",
    Refusal.NO_OWN: "E1413",
    Refusal.OURS_REFUSED: "E1411",
    Refusal.NOT_PROVEN: "E1414",
}
_OF_SIGN_IN = {
    Refusal.NO_SECRET: "E1501",
    Refusal.NO_TOKEN: "E1503",
    Refusal.TOKEN_UNKNOWN: "E1505",
    Refusal.USER_UNPROVEN: "E1505",
    Refusal.PASSWORD_IN_CLEAR: "E1504",
    Refusal.USER_REFUSED: "E1506",
    Refusal.USER_CERTIFICATE_REFUSED: "E1507",
}
_OF_CHECK = (
    (REVOKED, "E1406"),
    (UNTRUSTED, "E1401"),
    ("validity", "E1403"),
    ("application_uri", "E1405"),
    ("host_name", "E1404"),
    ("revocation", "E1407"),
    ("key_usage", "E1408"),
    ("key_strength", "E1408"),
    ("key_kind", "E1408"),
)
"""Codes of the checks of a certificate, the one to mend first before the others."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What is known while the ladder is climbed.

    Attributes:
        offered: endpoints of the server.
        way: that was found; None: none yet.
        theirs: certificate of the server; None: not seen.
        ours: None: none is there, or nobody asks for it.
    """

    model: SourceModel
    store: TrustStore
    offered: Sequence[ua.EndpointDescription] = ()
    way: Way | None = None
    theirs: x509.Certificate | None = None
    ours: OwnCertificate | None = None

    @property
    def host(self) -> str:
        """Of the url."""
        return urlsplit(self.model.url).hostname or ""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Both, to be compared: what we see of the server, and what the server should see."""
        facts = {}
        if self.theirs is not None:
            facts["server_sha256"] = sha256_of(self.theirs)
            facts["server_sha1"] = sha1_of(self.theirs.public_bytes(Encoding.DER))
            facts["server_subject"] = self.theirs.subject.rfc4514_string()
            facts["server_uri"] = ", ".join(uris_of(self.theirs))
            facts["server_hosts"] = ", ".join(hosts_of(self.theirs))
            facts["server_ends"] = f"{self.theirs.not_valid_after_utc:%Y-%m-%d}"
        if self.ours is not None:
            facts["own_sha256"] = self.ours.sha256
            facts["own_sha1"] = sha1_of(self.ours.der)
            facts["own_file"] = str(self.ours.file)
            facts["own_uri"] = self.ours.uri
            facts["own_ends"] = f"{self.ours.ends:%Y-%m-%d}"
        return facts


def step_of(error: SessionLost, at: Rung, tried: Tried) -> Step:
    """The step that an attempt ended with. `at`: the rung that was being climbed, for what does not
    say by itself where it belongs."""
    facts = tried.fingerprints if at is not Rung.ENDPOINT else {}
    match error:
        case CertificateRefused():
            return _of_certificate(error, tried)
        case SignInRefused():
            return _of_sign_in(error, tried)
        case TooManySubscriptions():
            return say("E1601", facts)
        case Unacceptable(refusal=refusal) if refusal in _OF_ENDPOINT:
            return _of_endpoint(error, _OF_ENDPOINT[refusal], tried)
    status = error.__cause__.code if isinstance(error.__cause__, ua.UaStatusCodeError) else 0
    if status in _FULL:
        return say("E1304", facts, status=_named(status))
    if status == ua.StatusCodes.BadTcpEndpointUrlInvalid:
        url, port = tried.model.url, urlsplit(tried.model.url).port or 4840
        return say("E1305", facts, url=url, port=port)
    if status == ua.StatusCodes.BadTooManySessions:
        return say("E1509", facts)
    code = {
        Rung.ENDPOINT: "E1312" if status else "E1313",
        Rung.CERTIFICATE: "E1312" if tried.ours is None else "E1411",
        Rung.SIGN_IN: "E1510",
        Rung.SUBSCRIBE: "E1607",
        Rung.VALUES: "E1704",
    }.get(at, "E1704")
    who = shown_identity(tried.way.identity if tried.way is not None else NOBODY)
    return say(
        code,
        facts,
        detail=error.reason,
        who=who,
        ours=shown(tried.ours.sha256) if tried.ours is not None else "",
        file=tried.ours.file if tried.ours is not None else "",
    )


def _of_endpoint(error: SessionLost, code: str, tried: Tried) -> Step:
    wanted = tried.model.security
    named = "that security"
    if wanted is not None:
        policy = "any security of today" if wanted.policy == "best" else wanted.policy
        named = f"{policy} with {wanted.mode}"
    return say(
        code,
        {"offered": offers(tried.offered)},
        offered=offers(tried.offered) or "nothing",
        wanted=named,
        host=tried.host,
        detail=error.reason,
    )


def _of_certificate(error: CertificateRefused, tried: Tried) -> Step:
    theirs = error.refused or tried.theirs
    shown_theirs = shown(sha256_of(theirs)) if theirs is not None else "no certificate"
    code = _OF_CERTIFICATE.get(error.refusal or Refusal.NOT_BELIEVED, "")
    if error.refusal is Refusal.OURS_REFUSED and not isinstance(
        error.__cause__, ua.UaStatusCodeError
    ):
        code = "E1412"
    if not code:
        code = next((code for check, code in _OF_CHECK if check in error.checks), "E1408")
        if code == "E1401" and error.before:
            code = "E1402"
        if code == "E1401" and tried.model.security and tried.model.security.server_sha256:
            code = "E1410"
    facts = tried.fingerprints
    if theirs is not None:
        facts["server_sha256"] = sha256_of(theirs)
        facts["server_sha1"] = sha1_of(theirs.public_bytes(Encoding.DER))
    sha256 = sha256_of(theirs) if theirs is not None else ""
    command = tried.store.command("add", sha256) if sha256 else ""
    if command and code in ("E1401", "E1402"):
        facts["command"] = command
    detail = error.reason.rpartition("is refused: ")[2]
    if isinstance(error.__cause__, ua.UaStatusCodeError):
        detail = _named(error.__cause__.code)
    step = say(
        code,
        facts,
        theirs=shown_theirs,
        ours=shown(tried.ours.sha256) if tried.ours is not None else "none",
        file=tried.ours.file if tried.ours is not None else "",
        folder=tried.store.folder,
        command=command,
        before=", ".join(map(shown, error.before)),
        remove="`, `".join(tried.store.command("remove", each) for each in error.before),
        detail=detail,
        hosts=" or ".join(hosts_of(theirs)) if theirs is not None else "",
        host=tried.host,
        waive=", ".join(sorted(set(error.checks) & {"key_usage", "key_strength"})),
        sha256=sha256,
    )
    return _with_further(step, error)


def _with_further(step: Step, error: CertificateRefused) -> Step:
    """Say what else is wrong with the certificate, so that it is mended in one go."""
    first = next((check for check, _ in _OF_CHECK if check in error.checks), "")
    others = [
        reason for check, reason in zip(error.checks, error.reasons, strict=True) if check != first
    ]
    if not others:
        return step
    said = f"{step.said}; and beside that, {'; '.join(others)}"
    return Step(step.rung, step.verdict, said, step.fix, step.code, facts=step.facts)


def _of_sign_in(error: SignInRefused, tried: Tried) -> Step:
    code = _OF_SIGN_IN.get(error.refusal or Refusal.USER_REFUSED, "E1510")
    identity = tried.way.identity if tried.way is not None else NOBODY
    status = error.__cause__.code if isinstance(error.__cause__, ua.UaStatusCodeError) else 0
    has_user = bool(tried.model.user or tried.model.user_certificate)
    if code == "E1503" and not has_user:
        code = "E1502"
    if code == "E1506" and not has_user:
        code = "E1502"
    if code == "E1506" and tried.model.user_certificate:
        code = "E1507"
    if code == "E1506" and status == ua.StatusCodes.BadSecurityPolicyRejected:
        code = "E1508"
    chosen = [each for each in tried.offered if each.UserIdentityTokens]
    who = shown_identity(identity)
    if identity == NOBODY and has_user:
        who = f"user {tried.model.user!r}" if tried.model.user else "a user's certificate"
    return say(
        code,
        tried.fingerprints,
        detail=error.reason.removeprefix("cannot sign in: "),
        tokens=shown_tokens(chosen) or "nothing that it names",
        who=who,
        status=_named(status) if status else "no status",
        origin=f" (it is from {identity.origin})" if identity.origin else "",
    )


def offers(offered: Iterable[ua.EndpointDescription]) -> str:
    """What is offered, for people: each policy with its mode once."""
    return ", ".join(
        dict.fromkeys(
            "None (in the clear)" if policy_of(each) == NONE else described(each)
            for each in offered
        )
    )


def _named(status: int) -> str:
    return f"{ua.StatusCode(status).name}, 0x{status:08X}"
