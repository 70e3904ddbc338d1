"""From an address to an activated session: channel, certificates, sign-in, and back to the session
of before (part 4, 6.7); called by source.py."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from asyncua import Client, ua
from asyncua.crypto.uacrypto import CertProperties
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from aurelian.edge.certificates import shown
from opcua_gateway.endpoints import Identity, Unacceptable, Way
from opcua_gateway.session import Session, SessionLost, translated
from opcua_gateway.transport_limits import keep_limits

log = logging.getLogger(__name__)

_PLAIN_URI = "urn:aurelian:opcua-gateway"
_SIGN_IN_REFUSED = frozenset(
    {
        ua.StatusCodes.BadUserAccessDenied,
        ua.StatusCodes.BadIdentityTokenInvalid,
        ua.StatusCodes.BadIdentityTokenRejected,
        ua.StatusCodes.BadUserSignatureInvalid,
    }
)


@asynccontextmanager
async def opened(
    url: str,
    way: Way,
    *,
    timeout_s: float,
    session_timeout_s: float,
    name: str,
    secret: str | None,
) -> AsyncIterator[Session]:
    """Connect and activate the session of `secret`, or a new one where there is none or the server
    has forgotten it.

    On the way out only the connection is closed: the server keeps session and queues for whoever
    comes back with the secret.

    Raises:
        SessionLost: it did not come to that.
    """
    client = Client(url, timeout=timeout_s)  # fresh for each connection (T14)
    client.name = client.description = name
    client.application_uri = _PLAIN_URI if way.own is None else way.own.uri
    client.session_timeout = int(session_timeout_s * 1000)
    keep_limits(client)
    try:
        await _secure(client, way)
        with translated(f"connect to {url}"):
            await client.connect_socket()
            await client.send_hello()
            with _explained(way):
                await client.open_secure_channel()
        session = Session(client)
        if secret is not None:
            session.resumed = await _reactivate(client, way, secret)
        if not session.resumed:
            with translated(f"open a session with {url}"), _explained(way):
                await client.create_session()
                await _sign_in(client, way)
        yield session
    finally:
        client.disconnect_socket()


async def _secure(client: Client, way: Way) -> None:
    if way.policy is not None and way.own is not None:
        with translated("use the certificates"):
            await client.set_security(
                way.policy,
                way.own.der,
                CertProperties(way.own.key, extension="pem"),
                server_certificate=way.server_certificate,
                mode=way.mode,
            )
    elif way.server_certificate is not None:
        # In the clear, but the password is encrypted: for the holder of the certificate that was
        # checked, not of any that CreateSession brings.
        client.security_policy.peer_certificate = way.server_certificate


async def _reactivate(client: Client, way: Way, secret: str) -> bool:
    nobody, token, nonce = (secret + "\n\n").split("\n")[:3]
    client._policy_ids = [ua.UserTokenPolicy(PolicyId=nobody, TokenType=ua.UserTokenType.Anonymous)]
    with translated("re-activate the session"):
        try:
            client.uaclient.session.restore_authentication_token(ua.NodeId.from_string(token))
            # We prove that we have our key by signing what the server gave us last.
            client._server_nonce = bytes.fromhex(nonce) or None
            await _sign_in(client, way)
        except ua.UaStatusCodeError as error:
            log.info(
                "session is not known any more", extra={"fields": {"status": f"0x{error.code:08X}"}}
            )
            client.uaclient.session.reset_authentication_token()
            return False
    return True


async def _sign_in(client: Client, way: Way) -> None:
    identity = way.identity
    if way.token is not None:
        client._policy_ids = [way.token]
    if identity.certificate is not None:
        client.user_private_key = _load_key(identity)
        await client.activate_session(certificate=identity.certificate)
    else:
        await client.activate_session(identity.name or None, identity.password or None)


def _load_key(identity: Identity) -> object:
    try:
        if b"-----BEGIN" in identity.key:
            return load_pem_private_key(identity.key, password=None)
        return load_der_private_key(identity.key, password=None)
    except (ValueError, TypeError) as error:
        raise Unacceptable(
            f"cannot sign in: `user_key` is no key without password: {error}"
        ) from error


@contextmanager
def _explained(way: Way) -> Iterator[None]:
    """Say what to do about a server that refuses our certificate or our user."""
    try:
        yield
    except SessionLost:
        raise
    except ua.UaStatusCodeError as error:
        if error.code in _SIGN_IN_REFUSED:
            who = f"user {way.identity.name!r}" if way.identity.name else "this way to sign in"
            raise Unacceptable(f"the server refuses {who}: {error}") from error
        if way.own is None or ("ertificate" not in str(error) and "ecurity" not in str(error)):
            raise
        raise Unacceptable(_distrusted(way, error)) from error
    except (OSError, TimeoutError, ua.UaError, AssertionError) as error:
        # A server that does not trust us may only hang up.
        if way.own is None:
            raise
        raise Unacceptable(_distrusted(way, error)) from error


def _distrusted(way: Way, error: BaseException) -> str:
    assert way.own is not None
    return (
        f"the server ends the secured connection ({error or type(error).__name__}): does it trust "
        f"our certificate {shown(way.own.sha256)}? Its file is {way.own.file}"
    )
