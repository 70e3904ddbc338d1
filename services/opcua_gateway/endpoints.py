"""How a server is spoken to: which of its endpoints, with which certificate, as which user. Asked
anew for each connection, so that what people change on either side holds at the next one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args
from urllib.parse import urlsplit

from asyncua import Client, ua
from asyncua.crypto import security_policies as policies
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.certificates import UNREADABLE, TrustError, sha256_of, shown, utc_now
from aurelian.edge.trust_store import RENEW_BEFORE, OwnCertificate, TrustStore
from aurelian.model.source_model import OpcuaSecurity, SourceModel, Waiver
from opcua_gateway import metrics
from opcua_gateway.server_certificate import UNTRUSTED, Expected, find_faults, split_chain
from opcua_gateway.session import SessionLost, translated
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.transport_limits import keep_limits

log = logging.getLogger(__name__)

_POLICIES: dict[str, type[policies.SecurityPolicy]] = {
    "Aes256_Sha256_RsaPss": policies.SecurityPolicyAes256Sha256RsaPss,
    "Basic256Sha256": policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": policies.SecurityPolicyAes128Sha256RsaOaep,
    "Basic256": policies.SecurityPolicyBasic256,
    "Basic128Rsa15": policies.SecurityPolicyBasic128Rsa15,
}
_BEST = ("Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep")
_TRANSPORT = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
_NONE = "None"
_TOKENS = {
    ua.UserTokenType.Anonymous: "nobody",
    ua.UserTokenType.UserName: "a user name",
    ua.UserTokenType.Certificate: "a user's certificate",
    ua.UserTokenType.IssuedToken: "a token of another system",
}


class Unacceptable(SessionLost):
    """The server is there, and what it offers or shows is not what the source asks for; the text
    says what to do."""


class Identity(NamedTuple):
    """As whom a source signs in: a name with its password, a certificate with its key, or
    nobody."""

    name: str = ""
    password: str = ""
    certificate: x509.Certificate | None = None
    key: bytes = b""


NOBODY = Identity()


@dataclass(frozen=True, slots=True)
class Way:
    """How to speak to a server.

    Attributes:
        policy: of the channel; None: in the clear.
        server_certificate: DER of the one that was found right; None where nobody asks for it.
        own: ours; None where nobody asks for it.
        token: of the user; None: the first of the server's for nobody.
    """

    policy: type[policies.SecurityPolicy] | None = None
    mode: ua.MessageSecurityMode = ua.MessageSecurityMode.None_
    server_certificate: bytes | None = None
    own: OwnCertificate | None = None
    token: ua.UserTokenPolicy | None = None
    identity: Identity = NOBODY


class Endpoints:
    """Finds the way to the server of one source."""

    def __init__(
        self, model: SourceModel, security: OpcuaSecurity, store: TrustStore, gateway: str
    ) -> None:
        self._model, self._security = model, security
        self._store, self._gateway = store, gateway

    async def find_way(self, timeout_s: float) -> Way:
        """Ask the server for its endpoints, choose one, and check its certificate.

        Raises:
            Unacceptable: what it offers is not what the source asks for.
                SessionLost: it does not answer.
        """
        security = self._security
        identity = await asyncio.to_thread(read_identity, self._model)
        if security.policy == _NONE and identity == NOBODY:
            return Way()
        asking = Client(self._model.url, timeout=timeout_s)
        keep_limits(asking)
        with translated(f"ask {self._model.url} for its endpoints"):
            offered = await asking.connect_and_get_server_endpoints()
        chosen = choose_endpoint(offered, security)
        token = choose_token(chosen, identity, security)
        policy = _POLICIES.get(_policy_of(chosen))
        certificate = None
        if policy is not None or _uses_key(token, chosen):
            certificate = await asyncio.to_thread(self._check, chosen)
        own = None
        if policy is not None:
            try:
                own = await asyncio.to_thread(own_certificate, self._store, self._gateway)
            except (TrustError, OSError) as error:
                raise Unacceptable(f"no certificate of our own: {error}") from error
        return Way(policy, chosen.SecurityMode, certificate, own, token, identity)

    def _check(self, endpoint: ua.EndpointDescription) -> bytes:
        """DER of the server's certificate, found right.

        Raises:
            Unacceptable: it is not; kept in the folder `rejected`.
        """
        source, security = self._model.key, self._security
        try:
            chain = split_chain(endpoint.ServerCertificate or b"")
        except ValueError as error:
            raise Unacceptable(f"the server's certificate cannot be read: {error}") from error
        expected = Expected(
            security.server_uri or endpoint.Server.ApplicationUri or "",
            urlsplit(self._model.url).hostname or "",
            security.server_sha256,
        )
        own = chain[0]
        try:
            lists = self._store.lists()
        except OSError as error:
            raise Unacceptable(f"the list of trusted certificates: {error}") from error
        found = find_faults(chain, lists, expected, utc_now())
        faults = [each for each in found if each.check not in security.waive]
        first_use = security.trust == "first_use" and not security.server_sha256
        if first_use and {each.check for each in faults} <= {UNTRUSTED}:
            # Noted also where it is trusted anyway: whoever comes with another one is the second.
            try:
                is_first = self._store.first_used(own, source)
            except OSError as error:
                raise Unacceptable(f"the first certificate cannot be kept: {error}") from error
            if is_first:
                return _der(own)
        if not faults:
            return _der(own)
        reason = "; ".join(each.reason for each in faults)
        with suppress(OSError):  # a full disk must not hide why
            self._store.reject(own, source, reason)
        waivable = sorted({each.check for each in faults} & {*get_args(Waiver)})
        steps = []
        if UNTRUSTED in (each.check for each in faults):
            steps.append(f"accept it: aurelian trust add {sha256_of(own)[:16]}")
        if waivable:
            listed = ", ".join(waivable)
            steps.append(f"mend it there, or do without the check: security: {{waive: [{listed}]}}")
        unreadable = f" (beside that: {'; '.join(lists.unreadable)})" if lists.unreadable else ""
        raise Unacceptable(
            f"the server's certificate {shown(sha256_of(own))} is refused: {reason}{unreadable}. "
            f"If it is the right server, {'; '.join(steps) or 'it needs another certificate'}"
        )


def announce_certificate(settings: OpcuaGatewaySettings) -> None:
    """Make our certificate where there is none, and say in the log which one it is: servers have
    to trust it. What goes wrong concerns only the sources that need it."""
    store = TrustStore(settings.state / "pki")
    try:
        own = own_certificate(store, settings.gateway)
    except (TrustError, OSError, *UNREADABLE) as error:
        log.error("no certificate of our own", extra={"fields": {"error": str(error)}})
        return
    fields = {
        "sha256": own.sha256,
        "file": str(own.file),
        "uri": own.uri,
        "ends": own.ends.isoformat(),
    }
    if own.ends - utc_now() < RENEW_BEFORE:
        log.warning("our certificate ends soon, put a new one there", extra={"fields": fields})
    else:
        log.info("our certificate", extra={"fields": fields | {"new": own.made_now}})


def own_certificate(store: TrustStore, gateway: str) -> OwnCertificate:
    """Our certificate, made where there is none.

    Raises:
        TrustError, OSError: it cannot be had.
    """
    host = socket.gethostname()
    uri = f"urn:{host}:aurelian:opcua-gateway:{gateway}"
    own = store.own(uri, [host, "localhost", "127.0.0.1"], utc_now())
    metrics.CERTIFICATE_ENDS.set(own.ends.timestamp())
    return own


def read_identity(model: SourceModel) -> Identity:
    """As whom a source signs in; its secrets are read anew each time.

    Raises:
        Unacceptable: a file or variable is not there.
    """
    try:
        if model.user_certificate:
            certificate = _load_certificate(Path(model.user_certificate).read_bytes())
            return Identity("", "", certificate, Path(model.user_key).read_bytes())
        if not model.user:
            return NOBODY
        if model.password_file:
            text = Path(model.password_file).read_text(encoding="utf-8")
            return Identity(model.user, text.rstrip("\r\n"))
    except OSError as error:
        raise Unacceptable(f"cannot sign in: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise Unacceptable(f"cannot sign in: {error}") from error
    if not model.password_env:
        return Identity(model.user)
    password = os.environ.get(model.password_env)
    if password is None:
        raise Unacceptable(
            f"cannot sign in: the environment variable {model.password_env}, which the plant file "
            "names for the password, is not set"
        )
    return Identity(model.user, password)


def choose_endpoint(
    offered: Sequence[ua.EndpointDescription], security: OpcuaSecurity
) -> ua.EndpointDescription:
    """The endpoint that a source asks for.

    Raises:
        Unacceptable: the server does not offer it.
    """
    usable = [each for each in offered if (each.TransportProfileUri or _TRANSPORT) == _TRANSPORT]
    names = _BEST if security.policy == "best" else (security.policy,)
    mode = "None_" if security.policy == _NONE else security.mode
    for name in names:
        for each in usable:
            if _policy_of(each) == name and each.SecurityMode == ua.MessageSecurityMode[mode]:
                return each
    secured = sorted({_described(each) for each in usable if _policy_of(each) != _NONE})
    if not secured:
        raise Unacceptable(
            "the server offers no security at all: switch it on there, or, if the network between "
            "is closed, say security: {policy: None} for this source"
        )
    asked = "any security of today" if security.policy == "best" else security.policy
    raise Unacceptable(
        f"the server does not offer {asked} with {security.mode}; it offers "
        f"{', '.join(secured)}: name one of them under `security` as `policy` and `mode`"
    )


def choose_token(
    endpoint: ua.EndpointDescription, identity: Identity, security: OpcuaSecurity
) -> ua.UserTokenPolicy:
    """The way to sign in that the endpoint has for an identity; one that hides the password before
    one that does not.

    Raises:
        Unacceptable: it has none, or it would send the password in the clear.
    """
    wanted = ua.UserTokenType.Anonymous
    if identity.certificate is not None:
        wanted = ua.UserTokenType.Certificate
    elif identity.name:
        wanted = ua.UserTokenType.UserName
    tokens = [each for each in endpoint.UserIdentityTokens or () if each.TokenType == wanted]
    if not tokens:
        kinds = {_TOKENS[each.TokenType] for each in endpoint.UserIdentityTokens or ()}
        hint = "say `user` and `password_file`" if wanted == ua.UserTokenType.Anonymous else ""
        raise Unacceptable(
            f"the server does not let {_TOKENS[wanted]} sign in; it wants "
            f"{' or '.join(sorted(kinds)) or 'nothing that it names'}"
            + (f": {hint} for this source" if hint else "")
        )
    if wanted != ua.UserTokenType.UserName or not identity.password:
        return tokens[0]
    tokens.sort(key=lambda each: not _uses_key(each, endpoint))
    hidden = (
        _uses_key(tokens[0], endpoint)
        or endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
    )
    if not hidden and "clear_password" not in security.waive:
        raise Unacceptable(
            "the server would have the password sent in the clear: choose an endpoint with "
            "security, or say security: {waive: [clear_password]} if the network between is closed"
        )
    return tokens[0]


def _uses_key(token: ua.UserTokenPolicy, endpoint: ua.EndpointDescription) -> bool:
    """Whether what signs the user in is encrypted or signed with the server's certificate."""
    if token.TokenType == ua.UserTokenType.Anonymous:
        return False
    uri = token.SecurityPolicyUri or endpoint.SecurityPolicyUri or ""
    # Nobody signs the list of endpoints: a broken policy is taken only where the channel has it.
    return uri.rpartition("#")[2] in {*_BEST, _policy_of(endpoint)} - {_NONE}


def _policy_of(endpoint: ua.EndpointDescription) -> str:
    return (endpoint.SecurityPolicyUri or _NONE).rpartition("#")[2]


def _described(endpoint: ua.EndpointDescription) -> str:
    return f"{_policy_of(endpoint)} with {endpoint.SecurityMode.name}"


def _load_certificate(data: bytes) -> x509.Certificate:
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
