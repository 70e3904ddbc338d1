"""The security policies of OPC UA part 7 by name and strength; used by endpoints.py and
sign_in.py."""

from __future__ import annotations

from enum import StrEnum

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


class Refusal(StrEnum):
    """What is not acceptable, for whoever tells it in other words."""

    CLEAR_NOT_ALLOWED = "clear_not_allowed"  # here, to that host
    NO_SECURITY = "no_security"  # the server offers none
    NO_CLEAR = "no_clear"  # it offers nothing else
    NOT_OFFERED = "not_offered"  # not the policy or mode that was named
    LIST_CHANGED = "list_changed"  # on the secured channel it says otherwise
    NOT_BELIEVED = "not_believed"  # the server's certificate does not pass our checks
    UNREADABLE = "unreadable"  # nor can it be read
    NO_OWN = "no_own"  # we have no certificate
    OURS_REFUSED = "ours_refused"  # by the server
    NOT_PROVEN = "not_proven"  # the server does not have the key of its certificate
    NO_SECRET = "no_secret"  # our password or user's certificate is not there
    NO_TOKEN = "no_token"  # the server takes no such user
    TOKEN_UNKNOWN = "token_unknown"  # nor is its policy for users understood here
    PASSWORD_IN_CLEAR = "password_in_clear"
    USER_UNPROVEN = "user_unproven"  # anybody could bring the user's certificate
    USER_REFUSED = "user_refused"
    USER_CERTIFICATE_REFUSED = "user_certificate_refused"


class Unacceptable(SessionLost):
    """The server is there, and what it offers or shows is not what the source asks for; the text
    says what to do.

    Attributes:
        refusal: what it is about; None: what has no name.
    """

    def __init__(self, text: str = "", step: str = "", refusal: Refusal | None = None) -> None:
        super().__init__(text, step)
        self.refusal = refusal


class SignInRefused(Unacceptable):
    """The user of the source cannot sign in."""


class CertificateRefused(Unacceptable):
    """A certificate, the server's or ours, is not accepted.

    Attributes:
        refused: the server's, where it is that one; None: ours, or one that cannot be read.
        checks, reasons: that it does not pass, by their names in server_certificate.py, each with
            its sentence.
        before: fingerprints of those that were accepted before for this server.
    """

    def __init__(
        self,
        text: str = "",
        step: str = "",
        refused: x509.Certificate | None = None,
        refusal: Refusal = Refusal.NOT_BELIEVED,
        checks: tuple[str, ...] = (),
        reasons: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> None:
        super().__init__(text, step, refusal)
        self.refused, self.checks, self.reasons, self.before = refused, checks, reasons, before


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
