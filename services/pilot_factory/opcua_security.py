"""Who may open a secured channel to the pilot plant's OPC UA server, and who may sign in by name.
Called by opcua_server.py.

asyncua checks a client's certificate only where the client names one in CreateSession, which it may
leave out, and has a password that is for an encrypted channel sent as it is. Here a certificate is
checked when the channel is opened, and a password is encrypted for the server in any case.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyFactory,
    SecurityPolicyNone,
)
from asyncua.server.internal_server import InternalServer
from cryptography import x509

from aurelian.edge.certificates import UNREADABLE, sha256_of, utc_now
from aurelian.edge.trust_store import OwnCertificate, TrustStore
from aurelian.model.source_model import SourceModel

log = logging.getLogger(__name__)

_POLICIES = [
    ua.SecurityPolicyType.NoSecurity,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Basic256Sha256_Sign,
]


@dataclass(frozen=True, slots=True)
class Secured:
    """How a server is secured.

    Attributes:
        own: its certificate.
        store: whom it trusts; read anew for each channel.
        user: who may sign in by name; empty: nobody.
        password: reads that one's password anew. May raise OSError.
    """

    own: OwnCertificate
    store: TrustStore
    user: str = ""
    password: Callable[[], str] = str


def password_of(source: SourceModel) -> str:
    """The password of a source's user, from where the plant file says, as the gateway reads it.

    Raises:
        OSError: there is none.
    """
    if source.password_file:
        return Path(source.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    password = os.environ.get(source.password_env)
    if password is None:
        raise OSError(f"the environment variable {source.password_env} is not set")
    return password


class SecuredServer(Server):  # type: ignore[misc]
    """asyncua's server with Basic256Sha256 (Sign, SignAndEncrypt) beside its endpoint in the clear.
    In the clear nobody signs in by name."""

    def __init__(self, secured: Secured) -> None:
        super().__init__(user_manager=_Users(secured))
        self._secured = secured
        self._policies: list[Any] = []
        named = [ua.UserNameIdentityToken] if secured.user else []
        self.set_identity_tokens([ua.AnonymousIdentityToken, *named])

    async def load(self) -> None:
        """Take its certificate; after `init`."""
        await self.load_certificate(self._secured.own.der, "der")
        await self.load_private_key(self._secured.own.key, format="pem")
        self.set_security_policy(_POLICIES)

    def _set_endpoints(
        self, policy: type[SecurityPolicy], mode: ua.MessageSecurityMode, level: int
    ) -> None:
        super()._set_endpoints(policy, mode, level)
        endpoint = self.iserver.endpoints[-1]
        clear = mode == ua.MessageSecurityMode.None_
        kept = []
        for token in endpoint.UserIdentityTokens:
            by_name = token.TokenType == ua.UserTokenType.UserName
            if by_name:
                token.SecurityPolicyUri = SecurityPolicyBasic256Sha256.URI
            if clear != by_name or not self._secured.user:
                kept.append(token)
        endpoint.UserIdentityTokens = kept

    async def _setup_server_nodes(self) -> None:
        await super()._setup_server_nodes()
        self._policies = [_CheckedPolicy(each, self._secured.store) for each in self._policies]


class _CheckedPolicy:
    """A policy that only those get who are trusted; in place of a SecurityPolicyFactory."""

    def __init__(self, of: SecurityPolicyFactory, store: TrustStore) -> None:
        self._of, self._store = of, store

    def matches(self, uri: str, mode: ua.MessageSecurityMode | None = None) -> bool:
        return bool(self._of.matches(uri, mode))

    def create(self, peer_certificate: bytes | None) -> SecurityPolicy:
        if self._of.cls is not SecurityPolicyNone:
            _admit(peer_certificate or b"", self._store)
        return self._of.create(peer_certificate)


class _Users:
    """In place of a UserManager."""

    def __init__(self, secured: Secured) -> None:
        self._secured = secured

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        if username is None:
            return User(role=UserRole.User)
        try:
            wanted = self._secured.password()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("nobody can sign in by name", extra={"fields": {"error": str(error)}})
            return None
        is_right = hmac.compare_digest((password or "").encode(), wanted.encode())
        return User(role=UserRole.User) if username == self._secured.user and is_right else None


def _admit(der: bytes, store: TrustStore) -> None:
    """Refuse a channel unless its certificate is valid now and one of those that are trusted by
    themselves; a refused one is kept in `rejected`.

    Raises:
        ua.uaerrors.BadUserAccessDenied: what has asyncua end the connection at once; after any
            other error it would leave the client waiting.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise ua.uaerrors.BadUserAccessDenied from error
    reason = ""
    if not certificate.not_valid_before_utc <= utc_now() <= certificate.not_valid_after_utc:
        reason = "it is not valid now"
    elif certificate not in store.lists().trusted:
        reason = "it is not trusted"
    if reason:
        store.reject(certificate, "a client", reason)
        fields = {
            "sha256": sha256_of(certificate),
            "reason": reason,
            "next": store.command("add", sha256_of(certificate)),
        }
        log.warning("a client's certificate is refused", extra={"fields": fields})
        raise ua.uaerrors.BadUserAccessDenied
