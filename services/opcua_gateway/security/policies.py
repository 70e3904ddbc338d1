"""The security policies of OPC UA part 7 by name and strength; used by endpoints.py and
sign_in.py."""

from __future__ import annotations

from asyncua import ua
from asyncua.crypto import security_policies
from cryptography import x509

from opcua_gateway.session import SessionLost

POLICIES: dict[str, type[security_policies.SecurityPolicy]] = {
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Basic256": security_policies.SecurityPolicyBasic256,
    "Basic128Rsa15": security_policies.SecurityPolicyBasic128Rsa15,
}
"""The strongest first."""

OF_TODAY = ("Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep")
"""Those that nobody has broken."""

NONE = "None"

_STRENGTH = (*POLICIES, NONE)


class Unacceptable(SessionLost):
    """The server is there, and what it offers or shows is not what the source asks for; the text
    says what to do."""


class SignInRefused(Unacceptable):
    """The user of the source cannot sign in."""


class CertificateRefused(Unacceptable):
    """A certificate, the server's or ours, is not accepted.

    Attributes:
        refused: the server's, where it is that one; None: ours, or one that cannot be read.
    """

    def __init__(
        self, text: str = "", step: str = "", refused: x509.Certificate | None = None
    ) -> None:
        super().__init__(text, step)
        self.refused = refused


def name_of(uri: str | None) -> str:
    """A policy's name; of no URI `None`."""
    return (uri or NONE).rpartition("#")[2]


def policy_of(endpoint: ua.EndpointDescription) -> str:
    """The name of an endpoint's policy."""
    return name_of(endpoint.SecurityPolicyUri)


def policy_of_token(token: ua.UserTokenPolicy, endpoint: ua.EndpointDescription) -> str:
    """The name of the policy by which a user's token is encrypted or signed: the endpoint's where
    the token has none of its own."""
    return name_of(token.SecurityPolicyUri or endpoint.SecurityPolicyUri)


def is_known(policy: str) -> bool:
    """Whether a policy of this name can be used here."""
    return policy in _STRENGTH


def weakness(policy: str) -> int:
    """0 is the strongest; of a known policy."""
    return _STRENGTH.index(policy)


def described(endpoint: ua.EndpointDescription) -> str:
    """`Basic256Sha256 with Sign`, for people."""
    mode = endpoint.SecurityMode
    return f"{policy_of(endpoint)} with {getattr(mode, 'name', mode)}"
