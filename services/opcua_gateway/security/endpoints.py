"""How a server is spoken to: which of its endpoints, with which certificate, as which user. Asked
anew for each connection, so that what people change on either side holds at the next one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicy
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.applications import gateway_certificate, gateway_store
from aurelian.edge.certificates import (
    UNREADABLE,
    TrustError,
    sha256_of,
    shown,
    uris_of,
    utc_now,
)
from aurelian.edge.names import readable
from aurelian.edge.trust_store import RENEW_BEFORE, Listed, OwnCertificate, TrustStore
from aurelian.model.opcua_model import OpcuaSecurity, Waiver
from aurelian.model.source_model import SourceModel
from opcua_gateway import metrics
from opcua_gateway.security.policies import (
    NONE,
    OF_TODAY,
    POLICIES,
    CertificateRefused,
    Refusal,
    Unacceptable,
    described,
    policy_of,
    policy_of_token,
)
from opcua_gateway.security.server_certificate import UNTRUSTED, Expected, find_faults, split_chain
from opcua_gateway.security.sign_in import (
    NOBODY,
    Identity,
    choose_token,
    is_protected,
    read_identity,
)
from opcua_gateway.session import SessionLost, translated
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.transport_limits import keep_limits
from opcua_gateway.what_answers import explained

log = logging.getLogger(__name__)

_TRANSPORT = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"

_MOST_EARLIER = 3

# Sources of one gateway share its certificate: it is made once, and said once.
_of_own = threading.Lock()
_announced: dict[Path, OwnCertificate] = {}


@dataclass(frozen=True, slots=True)
class Way:
    """How to speak to a server.

    Attributes:
        policy: of the channel; None: in the clear.
        server_certificate: DER of the one that was found right; None where nobody asks for it.
        own: ours; None where nobody asks for it.
        token: of the user; None: the first of the server's for nobody.
        endpoint: what was chosen of the list that nobody signs, and `security`: by what; None where
            no list was asked for.
    """

    policy: type[SecurityPolicy] | None = None
    mode: ua.MessageSecurityMode = ua.MessageSecurityMode.None_
    server_certificate: bytes | None = None
    own: OwnCertificate | None = None
    token: ua.UserTokenPolicy | None = None
    identity: Identity = NOBODY
    endpoint: ua.EndpointDescription | None = None
    security: OpcuaSecurity | None = None


class Endpoints:
    """Finds the way to a server of one source. `clear_hosts`: may be spoken to in the clear, as
    this machine may; `first_of`: under which name its first certificate is kept, empty: the
    source's."""

    def __init__(
        self,
        model: SourceModel,
        clear_hosts: Collection[str],
        store: TrustStore,
        gateway: str,
        first_of: str = "",
    ) -> None:
        self._first_of = first_of or model.key
        self._model, self._security = model, model.security_in(clear_hosts)
        self._refused = model.refused_in_clear(clear_hosts)
        self._store, self._gateway = store, gateway

    async def find_way(self, timeout_s: float) -> Way:
        """Ask the server for its endpoints, choose one, and check its certificate.

        Raises:
            Unacceptable: what it offers is not what the source asks for.
            SessionLost: it does not answer.
        """
        if self._refused:
            raise Unacceptable(self._refused, refusal=Refusal.CLEAR_NOT_ALLOWED)
        identity = await asyncio.to_thread(read_identity, self._model)
        if self._security.policy == NONE and identity == NOBODY:
            return Way()
        return await self._way_of(await self.ask(timeout_s), identity)

    async def ask(self, timeout_s: float) -> list[ua.EndpointDescription]:
        """What the server offers. Raises SessionLost where it does not answer."""
        url = self._model.url
        asking = Client(url, timeout=timeout_s)
        keep_limits(asking)
        try:
            with translated(f"ask {url} for its endpoints"):
                return list(await asking.connect_and_get_server_endpoints() or ())
        except SessionLost as error:
            raise await explained(error, url) from error.__cause__

    async def _way_of(self, offered: Sequence[ua.EndpointDescription], identity: Identity) -> Way:
        security = self._security
        with translated("choose one of its endpoints"):
            chosen = choose_endpoint(offered, security)
            token = choose_token(chosen, identity, security)
        policy = POLICIES.get(policy_of(chosen))
        certificate = None
        if policy is not None or is_protected(token, chosen):
            with translated("check the server's certificate"):
                certificate = await asyncio.to_thread(self.check, chosen)
        own = None
        if policy is not None:
            try:
                own = await asyncio.to_thread(own_certificate, self._store, self._gateway)
            except (TrustError, OSError, *UNREADABLE) as error:
                text = f"no certificate of our own: {error}"
                raise CertificateRefused(text, refusal=Refusal.NO_OWN) from error
        mode = chosen.SecurityMode
        return Way(policy, mode, certificate, own, token, identity, chosen, security)

    def check(self, endpoint: ua.EndpointDescription) -> bytes:
        """DER of the server's certificate, found right.

        Raises:
            Unacceptable: it is not; kept in the folder `rejected`.
        """
        source, security = self._model.key, self._security
        try:
            chain = split_chain(endpoint.ServerCertificate or b"")
        except ValueError as error:
            text = f"the server's certificate cannot be read: {error}"
            raise CertificateRefused(text, refusal=Refusal.UNREADABLE) from error
        expected = Expected(
            security.server_uri
            or (endpoint.Server.ApplicationUri if endpoint.Server else "")
            or "",
            urlsplit(self._model.url).hostname or "",
            security.server_sha256,
        )
        own = chain[0]
        try:
            lists = self._store.lists()
        except OSError as error:
            text = f"the list of trusted certificates: {error}"
            raise CertificateRefused(text, refusal=Refusal.NO_OWN) from error
        faults = find_faults(chain, lists, expected, utc_now(), security.waive)
        first_use = security.trust == "first_use" and not security.server_sha256
        if first_use and {each.check for each in faults} <= {UNTRUSTED}:
            # Noted also where it is trusted anyway: whoever comes with another one is the second.
            try:
                is_first = self._store.first_used(own, self._first_of)
            except OSError as error:
                text = f"the first certificate cannot be kept: {error}"
                raise CertificateRefused(text, refusal=Refusal.NO_OWN) from error
            if is_first:
                return _der(own)
        if not faults:
            return _der(own)
        reason = readable("; ".join(each.reason for each in faults))
        with suppress(OSError):  # a full disk must not hide why
            self._store.reject(own, source, reason)
        waivable = sorted({each.check for each in faults} & {*get_args(Waiver)})
        steps = []
        if UNTRUSTED in (each.check for each in faults):
            steps.append(f"accept it: `{self._store.command('add', sha256_of(own))}`")
        if waivable:
            listed = ", ".join(waivable)
            steps.append(f"mend it there, or do without the check: security: {{waive: [{listed}]}}")
        unreadable = f" (beside that: {'; '.join(lists.unreadable)})" if lists.unreadable else ""
        before = self._earlier(own)
        condition = "If it was renewed there" if before else "If it is the right server"
        if before:
            removes = (f"`{self._store.command('remove', each.sha256)}`" for each in before)
            steps.append(f"then take away the old one: {', '.join(removes)}")
        step = f"{condition}, {'; '.join(steps) or 'it needs another certificate'}"
        said = f"the server's certificate {shown(sha256_of(own))} is refused: {reason}{unreadable}"
        if before:
            was = ", ".join(shown(each.sha256) for each in before)
            mine = any(each.source in (source, self._first_of) for each in before)
            said += (
                f"; this source had {was} until now"
                if mine
                else f"; {was}, of the same ApplicationUri, is accepted"
            )
        raise CertificateRefused(
            f"{said}. {step}",
            step,
            own,
            checks=tuple(each.check for each in faults),
            reasons=tuple(each.reason for each in faults),
            before=tuple(each.sha256 for each in before),
        )

    def _earlier(self, certificate: x509.Certificate) -> list[Listed]:
        """What was accepted for this server before."""
        try:
            found = self._store.earlier(certificate, self._model.key, self._first_of)
        except OSError:  # it must not hide why
            return []
        uris = {*uris_of(certificate)}
        if self._first_of != self._model.key or self._model.redundant:
            # A source of several servers: only what says that it is this one.
            found = [e for e in found if e.source == self._first_of or not uris.isdisjoint(e.uris)]
        return found[:_MOST_EARLIER]


def announce_certificate(settings: OpcuaGatewaySettings) -> None:
    """Make our certificate where there is none, and say in the log which one it is: servers have
    to trust it. What goes wrong concerns only the sources that need it."""
    store = gateway_store(settings.state)
    try:
        own_certificate(store, settings.gateway)
    except (TrustError, OSError, *UNREADABLE) as error:
        log.error("no certificate of our own", extra={"fields": {"error": str(error)}})


def own_certificate(store: TrustStore, gateway: str) -> OwnCertificate:
    """Our certificate, made where there is none, and told in the log where it is another one than
    before.

    Raises:
        TrustError, OSError: it cannot be had.
    """
    with _of_own:
        own = gateway_certificate(store, gateway)
        metrics.CERTIFICATE_ENDS.set(own.ends.timestamp())
        known = _announced.get(own.file)
        if known is None or own.sha256 != known.sha256 or set(own.warnings) - set(known.warnings):
            _announced[own.file] = own
            _announce(own)
    return own


def known_own(store: TrustStore) -> OwnCertificate | None:
    """Our certificate as it was told last, without a look at the disk; None: there is none yet."""
    return next((own for own in _announced.values() if own.file.is_relative_to(store.folder)), None)


def _announce(own: OwnCertificate) -> None:
    fields = {
        "sha256": own.sha256,
        "file": str(own.file),
        "uri": own.uri,
        "ends": own.ends.isoformat(),
        "new": own.made_now,
    }
    log.info("our certificate", extra={"fields": fields})
    warnings = list(own.warnings)
    if utc_now() < own.ends < utc_now() + RENEW_BEFORE:
        warnings.append(f"it ends on {own.ends:%Y-%m-%d}: put a new one there")
    for each in warnings:
        extra = {"fields": {"sha256": own.sha256, "file": str(own.file), "what": each}}
        log.warning("our certificate needs somebody", extra=extra)


def choose_endpoint(
    offered: Sequence[ua.EndpointDescription], security: OpcuaSecurity
) -> ua.EndpointDescription:
    """The endpoint that a source asks for.

    Raises:
        Unacceptable: the server does not offer it.
    """
    usable = [each for each in offered if _is_usable(each)]
    names = OF_TODAY if security.policy == "best" else (security.policy,)
    mode = "None_" if security.policy == NONE else security.mode
    for name in names:
        for each in usable:
            if policy_of(each) == name and each.SecurityMode == ua.MessageSecurityMode[mode]:
                return each
    secured = sorted({described(each) for each in usable if policy_of(each) != NONE})
    if not secured:
        step = (
            "switch it on there, or, if the network between is closed, say security: "
            "{policy: None} for this source"
        )
        raise Unacceptable(
            f"the server offers no security at all: {step}", step, Refusal.NO_SECURITY
        )
    if security.policy == NONE:
        step = "say security: {policy: best} for this source"
        said = f"the server does not speak in the clear; it offers {', '.join(secured)}"
        raise Unacceptable(f"{said}: {step}", step, Refusal.NO_CLEAR)
    asked = "any security of today" if security.policy == "best" else security.policy
    step = "name one of them under `security` as `policy` and `mode`"
    said = f"the server does not offer {asked} with {security.mode}; it offers {', '.join(secured)}"
    raise Unacceptable(f"{said}: {step}", step, Refusal.NOT_OFFERED)


def confirmed_token(
    way: Way, offered: Sequence[ua.EndpointDescription] | None
) -> ua.UserTokenPolicy | None:
    """The token to sign in by, after the list of endpoints that came over the secured channel: it
    must lead to the choice that the list before it led to, which nobody signs (part 4, 5.6.2 and
    5.7.2).

    Raises:
        Unacceptable: it does not; somebody between may have taken away what is stronger.
    """
    if way.policy is None or way.endpoint is None or way.security is None:
        return way.token  # in the clear nobody signs this list either
    try:
        best = choose_endpoint(offered or (), way.security)
    except Unacceptable as error:
        raise _changed(str(error)) from error
    if described(best) != described(way.endpoint):
        raise _changed(f"it offers {described(best)}, and said {described(way.endpoint)} before")
    reasons = []
    for each in offered or ():
        if _is_usable(each) and described(each) == described(way.endpoint):
            reason, token = _compare(way, each)
            if not reason:
                return token
            reasons.append(reason)
    raise _changed(reasons[0])


def _compare(way: Way, now: ua.EndpointDescription) -> tuple[str, ua.UserTokenPolicy | None]:
    """What an endpoint says otherwise than the one that was chosen before, and the token to sign in
    by. What it does not say is no difference: servers may leave out what is not needed."""
    assert way.endpoint is not None and way.security is not None
    before = way.endpoint
    if now.ServerCertificate:
        try:
            if _der(split_chain(now.ServerCertificate)[0]) != way.server_certificate:
                return "it has another certificate", None
        except ValueError as error:
            return f"its certificate cannot be read: {error}", None
    uris = [each.Server.ApplicationUri if each.Server else "" for each in (before, now)]
    if all(uris) and uris[0] != uris[1]:
        return f"its ApplicationUri is {uris[1]!r}, and was {uris[0]!r} before", None
    if not now.UserIdentityTokens:
        return "", way.token
    try:
        token = choose_token(now, way.identity, way.security)
    except Unacceptable as error:
        return str(error), None
    assert way.token is not None
    names = policy_of_token(way.token, before), policy_of_token(token, now)
    if token.TokenType != ua.UserTokenType.Anonymous and names[0] != names[1]:
        return f"users sign in by {names[1]}, and by {names[0]} before", None
    return "", token


_CHANGED_STEP = (
    "look at the network between; a server that was only set up anew is right at the next attempt"
)


def _changed(reason: str) -> Unacceptable:
    return Unacceptable(
        f"on the secured channel the server says otherwise than before it: {reason}. Somebody "
        f"between may change its list of endpoints to have something weaker taken: {_CHANGED_STEP}",
        _CHANGED_STEP,
        Refusal.LIST_CHANGED,
    )


def _is_usable(endpoint: ua.EndpointDescription) -> bool:
    return (endpoint.TransportProfileUri or _TRANSPORT) == _TRANSPORT


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
