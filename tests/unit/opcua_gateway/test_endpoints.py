"""Which endpoint and which way to sign in a source takes of what a server offers, and that no
password ever leaves in the clear."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from asyncua import ua

from aurelian.model.source_model import OpcuaSecurity
from opcua_gateway.endpoints import NOBODY, Identity, Unacceptable, choose_endpoint, choose_token

URI = "http://opcfoundation.org/UA/SecurityPolicy#"
OPERATOR = Identity("operator", "word")
BEST = OpcuaSecurity()


def endpoint(
    policy: str, mode: str = "SignAndEncrypt", tokens: Sequence[str | None] = ()
) -> ua.EndpointDescription:
    """An endpoint with user name tokens of these policies; None: the endpoint's own."""
    made = ua.EndpointDescription()
    made.SecurityPolicyUri = URI + policy
    made.SecurityMode = ua.MessageSecurityMode[mode]
    made.UserIdentityTokens = [
        ua.UserTokenPolicy(
            PolicyId=f"{place}",
            TokenType=ua.UserTokenType.UserName,
            SecurityPolicyUri=None if token is None else URI + token,
        )
        for place, token in enumerate(tokens)
    ]
    return made


def test_the_strongest_of_today_is_the_best() -> None:
    names = ["None", "Basic128Rsa15", "Basic256", "Aes128_Sha256_RsaOaep", "Basic256Sha256"]
    offered = [endpoint(name, "None_" if name == "None" else "SignAndEncrypt") for name in names]
    assert choose_endpoint(offered, BEST) is offered[4]
    assert choose_endpoint(offered, OpcuaSecurity(policy="Basic256")) is offered[2]
    assert choose_endpoint(offered, OpcuaSecurity(policy="None")) is offered[0]


@pytest.mark.parametrize("names", [["None"], ["None", "Basic256", "Basic128Rsa15"], []])
def test_nothing_weaker_is_taken_unasked(names: list[str]) -> None:
    offered = [endpoint(name, "None_" if name == "None" else "SignAndEncrypt") for name in names]
    with pytest.raises(Unacceptable, match="security"):
        choose_endpoint(offered, BEST)
    with pytest.raises(Unacceptable):
        choose_endpoint([endpoint("Basic256Sha256", "Sign")], BEST)


def test_another_transport_is_none_of_ours() -> None:
    https = endpoint("Basic256Sha256")
    https.TransportProfileUri = "http://opcfoundation.org/UA-Profile/Transport/https-uabinary"
    with pytest.raises(Unacceptable):
        choose_endpoint([https], BEST)


@pytest.mark.parametrize(
    ("policy", "mode", "tokens", "taken"),
    [
        ("None", "None_", [None], None),
        ("None", "None_", ["None"], None),
        ("None", "None_", ["None", "Basic256Sha256"], "1"),
        # Nobody signs the list of endpoints: a broken policy could be anybody's wish.
        ("None", "None_", ["Basic128Rsa15"], None),
        ("Basic256Sha256", "Sign", ["None"], None),
        ("Basic256Sha256", "Sign", [None], "0"),
        ("Basic256Sha256", "Sign", ["None", "Basic256Sha256"], "1"),
        ("Basic256Sha256", "Sign", ["Basic128Rsa15"], None),
        ("Basic256Sha256", "SignAndEncrypt", ["None"], "0"),
        ("Basic256Sha256", "SignAndEncrypt", ["None", None], "1"),
        ("Basic128Rsa15", "Sign", [None], "0"),
    ],
)
def test_a_password_is_encrypted_by_token_or_channel(
    policy: str, mode: str, tokens: list[str | None], taken: str | None
) -> None:
    offered = endpoint(policy, mode, tokens)
    if taken is None:
        with pytest.raises(Unacceptable, match="sent in the clear"):
            choose_token(offered, OPERATOR, BEST)
        waived = OpcuaSecurity(waive=("clear_password",))
        assert choose_token(offered, OPERATOR, waived).PolicyId == "0"
    else:
        assert choose_token(offered, OPERATOR, BEST).PolicyId == taken


def test_who_may_not_sign_in_is_told_who_may() -> None:
    with pytest.raises(Unacceptable, match="wants a user name: say `user`"):
        choose_token(endpoint("None", "None_", [None]), NOBODY, BEST)
    with pytest.raises(Unacceptable, match="nothing that it names"):
        choose_token(endpoint("None", "None_"), OPERATOR, BEST)
