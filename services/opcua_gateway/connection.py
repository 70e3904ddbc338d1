"""From an address to an activated session: channel, certificates, sign-in, and back to the session
of before (part 4, 6.7); called by source.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from asyncua import Client, ua
from asyncua.crypto.uacrypto import CertProperties
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.certificates import shown
from opcua_gateway.failures import speaks_of_the_session
from opcua_gateway.security.endpoints import Way, confirmed_token
from opcua_gateway.security.policies import (
    CertificateRefused,
    Refusal,
    SignInRefused,
    Unacceptable,
)
from opcua_gateway.security.server_certificate import split_chain
from opcua_gateway.security.sign_in import shown_identity
from opcua_gateway.session import GIVE_BACK_S, Session, SessionLost, translated
from opcua_gateway.transport_limits import keep_limits
from opcua_gateway.what_answers import explained

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
_CLEAR_REFUSED = (
    ua.StatusCodes.BadSecurityModeRejected,
    ua.StatusCodes.BadSecurityPolicyRejected,
    ua.StatusCodes.BadSecurityModeInsufficient,
)
_HUNG_UP = (OSError, TimeoutError, AssertionError)
"""What the library raises where a server ends the connection: it may be all that one says of a
certificate that it does not trust."""


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
    client.application_uri = (way.own.uri if way.own is not None else "") or _PLAIN_URI
    client.session_timeout = int(session_timeout_s * 1000)
    keep_limits(client)
    try:
        await _secure(client, way)
        try:
            with translated(f"connect to {url}"):
                await client.connect_socket()
                await client.send_hello()
                with _trusted(way):
                    await client.open_secure_channel()
        except SessionLost as error:
            raise await explained(error, url) from error.__cause__
        session = Session(client)
        if secret is not None:
            session.resumed = await _reactivate(client, way, secret)
        if not session.resumed:
            try:
                with translated(f"open a session with {url}"), _trusted(way):
                    made = await _made_session(client, way)
                with translated("compare the server's endpoints"):
                    token = confirmed_token(way, made.ServerEndpoints)
                with translated(f"sign in at {url}"), _admitted(way):
                    await _sign_in(client, way, token)
            except (SessionLost, asyncio.CancelledError):
                # A gateway tries again and again.
                await session.give_back()
                raise
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


async def _made_session(client: Client, way: Way) -> ua.CreateSessionResult:
    """Create a session. Who is cancelled while the answer is on its way waits for it a moment: only
    with the token that it brings can the session be given back."""
    creating = asyncio.create_task(_create_session(client, way))
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        await asyncio.wait({creating}, timeout=GIVE_BACK_S)
        creating.cancel()
        await asyncio.wait({creating})
        if not creating.cancelled():
            creating.exception()  # seen, and of no interest any more
        raise


async def _create_session(client: Client, way: Way) -> ua.CreateSessionResult:
    if way.policy is not None or way.server_certificate is None:
        return await client.create_session()
    # In the clear the library would take any certificate that the server brings, or refuse one that
    # brings none here: that is left to it (part 4, 5.6.2.2), and Eclipse Milo does not.
    client.security_policy.peer_certificate = None
    made = await client.create_session()
    if made.ServerCertificate:
        (brought, *_) = split_chain(made.ServerCertificate)
        if brought.public_bytes(Encoding.DER) != way.server_certificate:
            raise ua.UaError("it has another certificate")
    _encrypt_for_holder(client, way)
    return made


def _encrypt_for_holder(client: Client, way: Way) -> None:
    """In the clear, where a password is encrypted all the same: for the holder of the certificate
    that was checked."""
    if way.policy is None and way.server_certificate is not None:
        client.security_policy.peer_certificate = way.server_certificate


class NotResumed(SessionLost):
    """The server neither took us back to our session nor said that it does not know it."""


async def _reactivate(client: Client, way: Way, secret: str) -> bool:
    try:
        return await _activate_again(client, way, secret)
    except Unacceptable:
        raise  # waits for a person, and says so
    except SessionLost as error:
        raise NotResumed(str(error), error.step) from error.__cause__


async def _activate_again(client: Client, way: Way, secret: str) -> bool:
    nobody, token, nonce = (secret + "\n\n").split("\n")[:3]
    client._policy_ids = [ua.UserTokenPolicy(PolicyId=nobody, TokenType=ua.UserTokenType.Anonymous)]
    with translated("re-activate the session"):
        try:
            user = way.token
            if way.policy is not None:
                # No CreateSession says what the server really offers, so it is asked again.
                user = confirmed_token(way, await client.get_endpoints())
            client.uaclient.session.restore_authentication_token(ua.NodeId.from_string(token))
            _encrypt_for_holder(client, way)
            # We prove that we have our key by signing what the server gave us last.
            client._server_nonce = bytes.fromhex(nonce) or None
            await _sign_in(client, way, user)
        except ua.UaStatusCodeError as error:
            if not speaks_of_the_session(error):
                raise
            log.info(
                "session is not known any more", extra={"fields": {"status": f"0x{error.code:08X}"}}
            )
            client.uaclient.session.reset_authentication_token()
            return False
    return True


async def _sign_in(client: Client, way: Way, token: ua.UserTokenPolicy | None) -> None:
    identity = way.identity
    if token is not None:
        client._policy_ids = [token]
    if identity.certificate is not None:
        client.user_private_key = identity.key
        await client.activate_session(certificate=identity.certificate)
    else:
        await client.activate_session(identity.name or None, identity.password or None)


@contextmanager
def _trusted(way: Way) -> Iterator[None]:
    """Say what to do about a server that refuses our certificate, or does not prove its own."""
    try:
        yield
    except SessionLost:
        raise
    except ua.UaStatusCodeError as error:
        if way.policy is None and error.code in _CLEAR_REFUSED:
            raise Unacceptable(_no_clear(error), _CLEAR_STEP, Refusal.NO_CLEAR) from error
        if way.own is None or not _is_of_certificates(error):
            raise
        raise _distrusted(way, error) from error
    except InvalidSignature as error:
        step = "is it the server that it says it is?"
        raise CertificateRefused(
            f"the server does not prove that it has the key of its certificate: {step}",
            step,
            refusal=Refusal.NOT_PROVEN,
        ) from error
    except _HUNG_UP as error:
        if way.own is None:
            raise
        raise _distrusted(way, error) from error
    except ua.UaError as error:
        if way.policy is None and way.endpoint is None:
            raise Unacceptable(_no_clear(error), _CLEAR_STEP, Refusal.NO_CLEAR) from error
        # Another certificate than before, or not the endpoint that we speak to.
        raise Unacceptable(
            f"the server's answer does not fit the endpoint that it offered: {error}",
            refusal=Refusal.LIST_CHANGED,
        ) from error


_CLEAR_STEP = "say security: {policy: best} for it"


def _no_clear(error: ua.UaError) -> str:
    return (
        f"the server does not speak in the clear ({error}); a source on this machine does where it "
        f"says nothing else: {_CLEAR_STEP}"
    )


@contextmanager
def _admitted(way: Way) -> Iterator[None]:
    """Say what to do about a server that refuses our user: our own certificate it has accepted
    before."""
    who = shown_identity(way.identity)
    try:
        yield
    except SessionLost:
        raise
    except ua.UaStatusCodeError as error:
        if way.identity.certificate is not None and _is_of_certificates(error):
            step = "does it trust that certificate as a user's?"
            text = f"the server refuses {who}: {error}; {step}"
            raise SignInRefused(text, step, Refusal.USER_CERTIFICATE_REFUSED) from error
        if error.code in _SIGN_IN_REFUSED or (way.identity.name and _is_of_certificates(error)):
            step = _next_step(way, error)
            text = f"the server refuses {who}: {error}; {step}"
            raise SignInRefused(text, step, Refusal.USER_REFUSED) from error
        if way.own is not None and _is_of_certificates(error):
            raise _distrusted(way, error) from error
        raise
    except _HUNG_UP as error:
        said = str(error) or type(error).__name__
        raise SessionLost(f"the connection ends while {who} signs in: {said}") from error


def _next_step(way: Way, error: ua.UaStatusCodeError) -> str:
    if error.code == ua.StatusCodes.BadSecurityPolicyRejected:
        return (
            "it does not take the policy by which the password is encrypted: let it name one of "
            "today, say Basic256Sha256, in its user token policy for names"
        )
    if way.identity.name:
        origin = f" (it is from {way.identity.origin})" if way.identity.origin else ""
        return f"is the password right{origin}, and may that user sign in there?"
    if way.identity.certificate is not None:
        return "does it know that certificate as a user's?"
    return "say `user` and `password_file` for this source"


def _is_of_certificates(error: ua.UaStatusCodeError) -> bool:
    return "ertificate" in str(error) or "ecurity" in str(error)


def _distrusted(way: Way, error: BaseException) -> CertificateRefused:
    assert way.own is not None
    said = str(error) or type(error).__name__
    step = f"does it trust our certificate {shown(way.own.sha256)}? Its file is {way.own.file}"
    text = f"the server ends the secured connection ({said}): {step}"
    return CertificateRefused(text, step, refusal=Refusal.OURS_REFUSED)
