"""As whom a source signs in to a server, and by which of the server's token policies; used by
endpoints.py and connection.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from aurelian.edge.certificates import UNREADABLE
from aurelian.edge.passwords import PasswordError, missing, read_password
from aurelian.model.opcua_model import OpcuaSecurity
from aurelian.model.source_model import SourceModel
from opcua_gateway.security.policies import (
    NONE,
    OF_TODAY,
    Refusal,
    SignInRefused,
    described,
    is_known,
    policy_of,
    policy_of_token,
    weakness,
)

_TOKENS = {
    ua.UserTokenType.Anonymous: "nobody",
    ua.UserTokenType.UserName: "a user name",
    ua.UserTokenType.Certificate: "a user's certificate",
    ua.UserTokenType.IssuedToken: "a token of another system",
}


class Identity(NamedTuple):
    """As whom a source signs in: a name with its password, a certificate with its key, or
    nobody. `origin`: where the password is from."""

    name: str = ""
    password: str = ""
    certificate: x509.Certificate | None = None
    key: rsa.RSAPrivateKey | None = None
    origin: str = ""


NOBODY = Identity()


def shown_identity(identity: Identity) -> str:
    """An identity in a sentence."""
    if identity.name:
        return f"user {identity.name!r}"
    if identity.certificate is not None:
        return f"the user's certificate {identity.certificate.subject.rfc4514_string()}"
    return "nobody"


def shown_tokens(endpoints: Iterable[ua.EndpointDescription]) -> str:
    """The ways to sign in that endpoints have, for people; empty: none."""
    offered = [token for each in endpoints for token in each.UserIdentityTokens or ()]
    kinds = {_TOKENS.get(each.TokenType, "something unknown") for each in offered}
    return " or ".join(sorted(kinds))


def read_identity(model: SourceModel) -> Identity:
    """As whom a source signs in; its secrets are read anew each time.

    Raises:
        SignInRefused: a file or variable is not there, or is not what it should be.
    """
    try:
        if model.user_certificate:
            certificate = _load_certificate(Path(model.user_certificate).read_bytes())
            key = _load_key(Path(model.user_key).read_bytes())
            if certificate.public_key() != key.public_key():
                raise ValueError("`user_key` does not belong to `user_certificate`")
            return Identity("", "", certificate, key)
        if not model.user:
            return NOBODY
        password, origin = read_password(model)
        return Identity(model.user, password, origin=origin)
    except PasswordError as error:
        raise SignInRefused(str(error), error.step, Refusal.NO_SECRET) from error
    except OSError as error:
        file = str(error.filename)
        names = ("user_certificate", "user_key")
        field = next((n for n in names if str(Path(getattr(model, n))) == file), "its source")
        missed = missing(file, field, error)
        raise SignInRefused(str(missed), missed.step, Refusal.NO_SECRET) from error
    except UNREADABLE as error:
        raise SignInRefused(f"cannot sign in: {error}", refusal=Refusal.NO_SECRET) from error


def choose_token(
    endpoint: ua.EndpointDescription, identity: Identity, security: OpcuaSecurity
) -> ua.UserTokenPolicy:
    """The way to sign in that the endpoint has for an identity: of several the one with the
    strongest policy.

    Raises:
        SignInRefused: it has none, or none that keeps the password secret or proves whose the
            certificate is.
    """
    wanted = ua.UserTokenType.Anonymous
    if identity.certificate is not None:
        wanted = ua.UserTokenType.Certificate
    elif identity.name:
        wanted = ua.UserTokenType.UserName
    offered = endpoint.UserIdentityTokens or ()
    tokens = [each for each in offered if each.TokenType == wanted]
    if not tokens:
        is_nobody = wanted == ua.UserTokenType.Anonymous
        hint = "say `user` and `password_file`" if is_nobody else ""
        step = f"{hint} for this source" if hint else ""
        refuses = "take a session without a user" if is_nobody else f"let {_TOKENS[wanted]} sign in"
        raise SignInRefused(
            f"the server does not {refuses}; it wants "
            f"{shown_tokens([endpoint]) or 'nothing that it names'}"
            + (f": {step}" if step else ""),
            step,
            Refusal.NO_TOKEN,
        )
    if wanted == ua.UserTokenType.Anonymous:
        return tokens[0]
    known = [each for each in tokens if is_known(policy_of_token(each, endpoint))]
    if not known:
        names = sorted({policy_of_token(each, endpoint) for each in tokens})
        step = f"let it offer {OF_TODAY[1]} too"
        raise SignInRefused(
            f"the server lets {_TOKENS[wanted]} sign in by {' or '.join(names)} only, which is "
            f"not understood here: {step}",
            step,
            Refusal.TOKEN_UNKNOWN,
        )
    token = min(known, key=lambda each: weakness(policy_of_token(each, endpoint)))
    if is_protected(token, endpoint):
        return token
    if wanted == ua.UserTokenType.Certificate:
        text = _unproven(policy_of_token(token, endpoint))
        raise SignInRefused(text, refusal=Refusal.USER_UNPROVEN)
    if identity.password and not is_covered(endpoint) and "clear_password" not in security.waive:
        raise SignInRefused(_uncovered(token, endpoint), refusal=Refusal.PASSWORD_IN_CLEAR)
    return token


def is_protected(token: ua.UserTokenPolicy, endpoint: ua.EndpointDescription) -> bool:
    """Whether what signs the user in is encrypted for the server, or signed, by a policy that can
    be relied on: one of today, or one at least as strong as that of the channel, which is broken
    only where somebody named it."""
    policy = policy_of_token(token, endpoint)
    if token.TokenType == ua.UserTokenType.Anonymous or policy == NONE or not is_known(policy):
        return False
    channel = policy_of(endpoint)
    named = channel != NONE and is_known(channel) and weakness(policy) <= weakness(channel)
    return policy in OF_TODAY or named


def is_covered(endpoint: ua.EndpointDescription) -> bool:
    """Whether the channel itself keeps a password secret (part 4, 7.40.4): it encrypts, by a policy
    that can be relied on."""
    encrypts = endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
    return encrypts and policy_of(endpoint) in OF_TODAY


def _uncovered(token: ua.UserTokenPolicy, endpoint: ua.EndpointDescription) -> str:
    policy = policy_of_token(token, endpoint)
    wants = (
        "the server would have the password sent in the clear"
        if policy == NONE
        else f"the server would have the password encrypted by {policy}, which is broken"
    )
    if endpoint.SecurityMode != ua.MessageSecurityMode.None_:
        return (
            f"{wants}, and the channel ({described(endpoint)}) does not protect it: let the server "
            f"offer {OF_TODAY[1]} with SignAndEncrypt, or that policy for user names; or say "
            "security: {waive: [clear_password]} if the network between is closed"
        )
    return (
        f"{wants}: choose an endpoint with security, or say security: {{waive: [clear_password]}} "
        "if the network between is closed"
    )


def _unproven(policy: str) -> str:
    if policy == NONE:
        return (
            "the server lets a user's certificate sign in without a signature, so that anybody "
            f"could: let it offer a policy of today, say {OF_TODAY[1]}, for certificates of users"
        )
    return (
        f"the server would have the user's certificate prove itself by {policy}, which is broken: "
        f"let it offer a policy of today, say {OF_TODAY[1]}, for certificates of users, or, if it "
        f"can do no better, say security: {{policy: {policy}}}"
    )


def _load_certificate(data: bytes) -> x509.Certificate:
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _load_key(data: bytes) -> rsa.RSAPrivateKey:
    try:
        load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
        key = load(data, password=None)
    except UNREADABLE as error:
        raise ValueError(f"`user_key` is no key without password: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("`user_key` is no RSA key, which every policy here needs")
    return key
