"""Which endpoint and which way to sign in a source takes of what a server offers, and that no
password ever leaves in the clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from asyncua import ua

from aurelian.model.opcua_model import OpcuaSecurity
from opcua_gateway.security.endpoints import Way, choose_endpoint, confirmed_token
from opcua_gateway.security.policies import POLICIES, Unacceptable, policy_of
from opcua_gateway.security.sign_in import NOBODY, Identity, choose_token
from tests.peers.certificates import make

URI = "http://opcfoundation.org/UA/SecurityPolicy#"
OPERATOR = Identity("operator", "word")
BEST = OpcuaSecurity()
USER = make("user")
OF_CERTIFICATE = Identity("", "", USER.certificate, USER.key)
SERVER, ANOTHER = make(), make()


def endpoint(
    policy: str,
    mode: str = "SignAndEncrypt",
    tokens: Sequence[str | None] = (),
    kind: ua.UserTokenType = ua.UserTokenType.UserName,
) -> ua.EndpointDescription:
    """An endpoint with user tokens of these policies; None: the endpoint's own."""
    made = ua.EndpointDescription()
    made.SecurityPolicyUri = URI + policy
    made.SecurityMode = ua.MessageSecurityMode[mode]
    made.UserIdentityTokens = [
        ua.UserTokenPolicy(
            PolicyId=f"{place}",
            TokenType=kind,
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
        # An encrypted channel is enough, where there is nothing stronger.
        ("Basic256Sha256", "SignAndEncrypt", ["None"], "0"),
        ("Basic256Sha256", "SignAndEncrypt", ["Basic128Rsa15"], "0"),
        ("Basic256Sha256", "SignAndEncrypt", ["None", "Basic256"], "1"),
        ("Basic256Sha256", "SignAndEncrypt", ["None", None], "1"),
        ("Basic256Sha256", "Sign", ["Basic128Rsa15", None, "Aes256_Sha256_RsaPss"], "2"),
        ("Basic256Sha256", "SignAndEncrypt", ["Basic256", "Aes128_Sha256_RsaOaep"], "1"),
        ("Basic256Sha256", "SignAndEncrypt", ["ECC_nistP256", None], "1"),
        # A broken policy that was named for the channel, and what is stronger than it.
        ("Basic128Rsa15", "Sign", [None], "0"),
        ("Basic128Rsa15", "SignAndEncrypt", ["Basic256"], "0"),
        ("Basic256", "SignAndEncrypt", ["Basic128Rsa15"], None),
        ("Basic128Rsa15", "SignAndEncrypt", ["None"], None),
    ],
)
def test_a_password_is_encrypted_by_the_strongest_token_and_never_by_a_broken_one(
    policy: str, mode: str, tokens: list[str | None], taken: str | None
) -> None:
    offered = endpoint(policy, mode, tokens)
    if taken is None:
        with pytest.raises(Unacceptable, match=r"say security: {waive: \[clear_password\]}"):
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


def test_a_policy_that_is_not_understood_is_named() -> None:
    with pytest.raises(Unacceptable, match=r"by ECC_nistP256 only, .*Basic256Sha256"):
        choose_token(endpoint("Basic256Sha256", tokens=["ECC_nistP256"]), OPERATOR, BEST)
    odd = endpoint("None", "None_")
    odd.UserIdentityTokens = [ua.UserTokenPolicy(PolicyId="x", TokenType=17)]
    with pytest.raises(Unacceptable, match="wants something unknown"):
        choose_token(odd, OPERATOR, BEST)


@pytest.mark.parametrize(
    ("policy", "tokens", "taken"),
    [
        ("Basic256Sha256", [None], "0"),
        ("Basic256Sha256", ["Basic128Rsa15", None], "1"),
        ("None", ["Basic256", "Basic256Sha256"], "1"),
        ("Basic256", [None], "0"),
        ("Basic256Sha256", ["None"], "without a signature"),
        ("None", [None], "without a signature"),
        ("Basic256Sha256", ["Basic256"], "by Basic256, which is broken.*{policy: Basic256}"),
        ("None", ["Basic128Rsa15"], "by Basic128Rsa15, which is broken"),
    ],
)
def test_a_users_certificate_proves_itself_by_the_strongest_policy(
    policy: str, tokens: list[str | None], taken: str
) -> None:
    mode = "None_" if policy == "None" else "SignAndEncrypt"
    offered = endpoint(policy, mode, tokens, ua.UserTokenType.Certificate)
    if len(taken) == 1:
        assert choose_token(offered, OF_CERTIFICATE, BEST).PolicyId == taken
    else:
        waived = OpcuaSecurity(waive=("clear_password",))
        with pytest.raises(Unacceptable, match=taken):
            choose_token(offered, OF_CERTIFICATE, waived)


def way_of(
    offered: Sequence[ua.EndpointDescription],
    identity: Identity = OPERATOR,
    security: OpcuaSecurity = BEST,
) -> Way:
    """What a source takes of a list that nobody signs."""
    chosen = choose_endpoint(offered, security)
    token = choose_token(chosen, identity, security)
    policy = POLICIES.get(policy_of(chosen))
    mode, certificate = chosen.SecurityMode, SERVER.der
    return Way(policy, mode, certificate, None, token, identity, chosen, security)


def described() -> ua.EndpointDescription:
    made = endpoint("Basic256Sha256", tokens=[None, "Aes256_Sha256_RsaPss"])
    made.ServerCertificate = SERVER.der
    made.Server.ApplicationUri = "urn:server"
    return made


def test_the_same_list_over_the_secured_channel_is_believed() -> None:
    way = way_of([described()])
    assert way.token is not None and way.token.PolicyId == "1"
    assert confirmed_token(way, [described()]) == way.token
    # Servers may leave out what is not needed, and have more than one address.
    short = described()
    short.ServerCertificate, short.Server.ApplicationUri = None, None
    assert confirmed_token(way, [endpoint("Basic256", tokens=[None]), short]) == way.token
    short.UserIdentityTokens = None
    assert confirmed_token(way, [short]) == way.token
    chained = described()
    chained.ServerCertificate = SERVER.der + ANOTHER.der
    assert confirmed_token(way, [chained]) == way.token
    # What is signed counts, so by its name.
    renamed = described()
    renamed.UserIdentityTokens[1].PolicyId = "by another name"
    taken = confirmed_token(way, [renamed])
    assert taken is not None and taken.PolicyId == "by another name"


def stronger_endpoint(now: list[ua.EndpointDescription]) -> None:
    now.append(endpoint("Aes256_Sha256_RsaPss", tokens=[None]))


def no_such_endpoint(now: list[ua.EndpointDescription]) -> None:
    now[0].SecurityMode = ua.MessageSecurityMode.Sign


def other_certificate(now: list[ua.EndpointDescription]) -> None:
    now[0].ServerCertificate = ANOTHER.der


def other_uri(now: list[ua.EndpointDescription]) -> None:
    now[0].Server.ApplicationUri = "urn:another"


def other_token(now: list[ua.EndpointDescription]) -> None:
    del now[0].UserIdentityTokens[1]


def weaker_token(now: list[ua.EndpointDescription]) -> None:
    now[0].UserIdentityTokens = endpoint("Basic256Sha256", tokens=["None"]).UserIdentityTokens


def no_token(now: list[ua.EndpointDescription]) -> None:
    nobody = endpoint("Basic256Sha256", tokens=[None], kind=ua.UserTokenType.Anonymous)
    now[0].UserIdentityTokens = nobody.UserIdentityTokens


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (stronger_endpoint, "offers Aes256_Sha256_RsaPss with SignAndEncrypt, and said Basic256Sh"),
        (no_such_endpoint, "does not offer any security of today"),
        (other_certificate, "it has another certificate"),
        (other_uri, "ApplicationUri is 'urn:another', and was 'urn:server' before"),
        (other_token, "by Basic256Sha256, and by Aes256_Sha256_RsaPss before"),
        (weaker_token, "users sign in by None, and by Aes256_Sha256_RsaPss before"),
        (no_token, "does not let a user name sign in"),
        (list.clear, "offers no security at all"),
    ],
)
def test_another_list_over_the_secured_channel_is_refused(
    change: Callable[[list[ua.EndpointDescription]], None], says: str
) -> None:
    way, now = way_of([described()]), [described()]
    change(now)
    with pytest.raises(Unacceptable, match=f"says otherwise than before it: .*{says}.*between"):
        confirmed_token(way, now)


def test_in_the_clear_no_list_is_signed_so_that_none_is_compared() -> None:
    offered = endpoint("None", "None_", [None])
    way = way_of([offered], Identity("operator"), OpcuaSecurity(policy="None"))
    assert confirmed_token(way, []) is way.token
    assert confirmed_token(Way(), []) is None
