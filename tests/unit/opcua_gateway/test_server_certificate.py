"""Which server certificates are believed, with certificates made by hand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from aurelian.edge.certificates import sha256_of
from aurelian.edge.trust_store import Lists, TrustStore
from opcua_gateway.security.server_certificate import Expected, find_faults, split_chain
from tests.peers.certificates import (
    DAY,
    NOW,
    URI,
    Made,
    authority,
    list_with_sha1,
    make,
    revocation_list,
    with_curve,
    with_sha1,
)

EXPECTED = Expected(URI, "127.0.0.1")
ROOT = authority("root")
MIDDLE = authority("middle", ROOT)
LEAF = make("leaf", MIDDLE)
ALONE = make("alone")
LISTS_OF_ISSUERS = (revocation_list(ROOT), revocation_list(MIDDLE))


def faults(made: Made, lists: Lists, expected: Expected = EXPECTED, *sent: Made) -> list[str]:
    chain = [each.certificate for each in (made, *sent)]
    return [each.check for each in find_faults(chain, lists, expected, NOW)]


def trusting(*made: Made, **more: tuple[object, ...]) -> Lists:
    return Lists([each.certificate for each in made], **more)  # type: ignore[arg-type]


def test_an_empty_store_believes_nobody() -> None:
    for each in (ALONE, LEAF, ROOT):
        assert "trust" in faults(each, Lists())


@pytest.mark.parametrize(
    ("made", "check"),
    [
        (make(ends=NOW - DAY), "validity"),
        (make(begins=NOW + DAY), "validity"),
        (make(uris=("urn:another",)), "application_uri"),
        (make(uris=()), "application_uri"),
        (make(uris=(URI, "urn:another")), "application_uri"),
        (make(hosts=("10.0.0.1", "other.example")), "host_name"),
        (make(hosts=()), "host_name"),
        (make(usage=False), "key_usage"),
        (make(usage=None), "key_usage"),
        (make(extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "key_usage"),
        (make(bits=1024), "key_strength"),
        (make(extended=()), None),
        (make(), None),
    ],
)
def test_a_trusted_certificate_is_checked_all_the_same(made: Made, check: str | None) -> None:
    assert faults(made, trusting(made)) == ([] if check is None else [check])


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("127.0.0.1", True),
        ("plc.example", True),
        ("PLC.example", True),
        ("a.plc.example", False),
        ("127.0.0.2", False),
        ("example", False),
    ],
)
def test_the_host_is_the_one_that_we_connect_to(host: str, fits: bool) -> None:
    found = faults(ALONE, trusting(ALONE), Expected(URI, host))
    assert found == ([] if fits else ["host_name"])


def test_a_chain_needs_each_of_its_issuers_and_their_lists() -> None:
    middle = (MIDDLE.certificate,)
    assert faults(LEAF, trusting(ROOT, issuers=middle, crls=LISTS_OF_ISSUERS)) == []
    # The server may send what is between.
    assert faults(LEAF, trusting(ROOT, crls=LISTS_OF_ISSUERS), EXPECTED, MIDDLE) == []
    assert faults(LEAF, trusting(ROOT, crls=LISTS_OF_ISSUERS)) == ["trust"]
    # Issuers complete a chain; nobody is trusted for them.
    both = (MIDDLE.certificate, ROOT.certificate)
    assert faults(LEAF, Lists(issuers=both, crls=LISTS_OF_ISSUERS)) == ["trust"]
    assert faults(LEAF, trusting(MIDDLE, crls=LISTS_OF_ISSUERS)) == []
    assert faults(LEAF, trusting(ROOT, issuers=middle)) == ["revocation", "revocation"]
    # One that is trusted by itself needs neither.
    assert faults(LEAF, trusting(LEAF)) == []


def test_a_revoked_certificate_is_refused_even_where_it_is_trusted_by_itself() -> None:
    crls = (revocation_list(MIDDLE, LEAF), revocation_list(ROOT))
    assert faults(LEAF, trusting(MIDDLE, crls=crls)) == ["revoked"]
    by_itself = trusting(LEAF, issuers=(MIDDLE.certificate,), crls=crls)
    assert faults(LEAF, by_itself) == ["revoked"]


def test_a_revoked_intermediate_is_refused() -> None:
    crls = (revocation_list(MIDDLE), revocation_list(ROOT, MIDDLE))
    lists = trusting(ROOT, issuers=(MIDDLE.certificate,), crls=crls)
    assert faults(LEAF, lists) == ["revoked"]


def test_a_list_counts_for_its_own_issuer_with_its_signature_in_its_time() -> None:
    stranger = authority("stranger")
    forged = revocation_list(MIDDLE, signer=stranger)
    assert faults(LEAF, trusting(MIDDLE, crls=(forged,))) == ["revocation"]
    old = revocation_list(MIDDLE, next_update=NOW - DAY)
    assert faults(LEAF, trusting(MIDDLE, crls=(old,))) == ["revocation"]
    # A serial number that only somebody else has revoked.
    theirs = revocation_list(stranger, LEAF)
    assert faults(LEAF, trusting(MIDDLE, crls=(theirs, *LISTS_OF_ISSUERS))) == []


def test_who_is_no_authority_issues_nothing() -> None:
    under = make("under", ALONE)
    assert faults(under, trusting(ALONE)) == ["trust"]
    # The name of an authority with another key.
    impostor = make("impostor", Made(MIDDLE.certificate, authority("middle").key))
    assert faults(impostor, trusting(MIDDLE, crls=LISTS_OF_ISSUERS)) == ["trust"]


def test_an_issuer_that_ended_ends_what_it_issued() -> None:
    old = make("old", uris=(), hosts=(), ca=True, extended=(), ends=NOW - DAY)
    leaf = make("leaf", old)
    assert faults(leaf, trusting(old, crls=(revocation_list(old),))) == ["trust"]


def test_a_renewed_issuer_counts_beside_the_one_that_ended() -> None:
    """Same name and key, two certificates, wherever each of them lies."""
    ended = authority("middle", ROOT, ends=NOW - DAY, key=MIDDLE.key)
    old, new = ended.certificate, MIDDLE.certificate
    for trusted in ([old, new], [new, old]):
        assert faults(LEAF, Lists(trusted, crls=LISTS_OF_ISSUERS)) == []
    root = ROOT.certificate
    for issuers in ((old, new), (new, old)):
        assert faults(LEAF, Lists([root], issuers=issuers, crls=LISTS_OF_ISSUERS)) == []
    assert (
        faults(LEAF, Lists([root], issuers=(old,), crls=LISTS_OF_ISSUERS), EXPECTED, MIDDLE) == []
    )
    # The one that ended, in `trusted`, hides no way to the root.
    assert faults(LEAF, Lists([old, root], issuers=(new,), crls=LISTS_OF_ISSUERS)) == []
    assert faults(LEAF, Lists([old], crls=LISTS_OF_ISSUERS)) == ["trust"]


def test_a_root_that_signed_its_successor_leads_to_it() -> None:
    successor = authority("root", ROOT)
    leaf = make("leaf", successor)
    crls = (revocation_list(ROOT), revocation_list(successor))
    assert faults(leaf, trusting(ROOT, crls=crls), EXPECTED, successor) == []
    assert faults(leaf, trusting(successor, crls=crls)) == []


def test_ways_without_end_are_given_up() -> None:
    """Authorities that certify each other, in all directions."""
    keys = [authority(f"ring-{n}") for n in range(6)]
    ring = [
        authority(f"ring-{n}", other, key=keys[n].key)
        for n in range(6)
        for m, other in enumerate(keys)
        if m != n
    ]
    leaf = make("leaf", keys[0])
    assert faults(leaf, trusting(ROOT, issuers=tuple(e.certificate for e in ring))) == ["trust"]


def test_an_issuer_with_a_weak_key_or_signature_is_none_unless_that_is_waived() -> None:
    weak = authority("weak", bits=1024)
    under = make("under", weak)
    lists = trusting(weak, crls=(revocation_list(weak),))
    assert faults(under, lists) == ["key_strength"]
    between = authority("between", ROOT, bits=1024)
    below = make("below", between)
    crls = (revocation_list(ROOT), revocation_list(between))
    through = trusting(ROOT, issuers=(between.certificate,), crls=crls)
    assert faults(below, through) == ["key_strength"]
    old = with_sha1(MIDDLE, ROOT)
    assert old.certificate.signature_hash_algorithm.name == "sha1"  # type: ignore[union-attr]
    by_sha1 = trusting(ROOT, issuers=(old.certificate,), crls=LISTS_OF_ISSUERS)
    assert faults(LEAF, by_sha1) == ["key_strength"]
    for made, each in ((under, lists), (below, through), (LEAF, by_sha1)):
        chain = [made.certificate]
        assert find_faults(chain, each, EXPECTED, NOW, ("key_strength",)) == []
    # One that is trusted by itself needs nobody's signature, and a stronger way is taken first.
    assert faults(LEAF, trusting(old, crls=LISTS_OF_ISSUERS)) == []
    both = (old.certificate, MIDDLE.certificate)
    assert faults(LEAF, trusting(ROOT, issuers=both, crls=LISTS_OF_ISSUERS)) == []
    assert faults(with_sha1(LEAF, MIDDLE), trusting(MIDDLE, crls=LISTS_OF_ISSUERS)) == [
        "key_strength"
    ]


def test_a_list_signed_with_sha1_counts_only_where_that_is_waived() -> None:
    for more, waived in (({}, []), ({"next_update": NOW - DAY}, ["revocation"])):
        old = list_with_sha1(revocation_list(MIDDLE, **more), MIDDLE)
        lists = trusting(MIDDLE, crls=(old,))
        assert faults(LEAF, lists) == ["key_strength", *waived]
        found = find_faults([LEAF.certificate], lists, EXPECTED, NOW, ("key_strength",))
        assert [each.check for each in found] == waived
    revoking = list_with_sha1(revocation_list(MIDDLE, LEAF), MIDDLE)
    assert faults(LEAF, trusting(MIDDLE, crls=(revoking, *LISTS_OF_ISSUERS))) == ["revoked"]


def test_a_key_that_no_policy_can_use_cannot_be_waived() -> None:
    curve = with_curve(LEAF, MIDDLE)
    lists = Lists([MIDDLE.certificate], crls=LISTS_OF_ISSUERS)
    found = find_faults([curve], lists, EXPECTED, NOW, ("key_strength",))
    assert [each.check for each in found] == ["key_kind"]


def test_a_pinned_certificate_is_the_only_one_and_needs_no_list() -> None:
    pinned = Expected(URI, "127.0.0.1", sha256_of(ALONE.certificate))
    assert faults(ALONE, Lists(), pinned) == []
    assert faults(make(), trusting(make()), pinned) == ["trust"]


def test_a_chain_is_split_and_what_is_none_is_refused() -> None:
    assert [c.subject for c in split_chain(LEAF.der + MIDDLE.der)] == [
        LEAF.certificate.subject,
        MIDDLE.certificate.subject,
    ]
    for data in (
        b"",
        b"\x30",
        b"junk",
        LEAF.der[:-1],
        LEAF.der + b"x",
        b"\x30\x84\xff\xff\xff\xff",
    ):
        with pytest.raises(ValueError):
            split_chain(data)


@pytest.mark.parametrize("name", ["a.crt", "b.cer", "c.pem", "d.der", "e"])
@pytest.mark.parametrize("pem", [True, False])
def test_files_count_by_what_they_hold(tmp_path: Path, name: str, pem: bool) -> None:
    crl: x509.CertificateRevocationList = revocation_list(MIDDLE, LEAF)
    for folder in ("trusted", "crl"):
        (tmp_path / folder / "certs").mkdir(parents=True)
    (tmp_path / "trusted" / "certs" / name).write_bytes(MIDDLE.pem if pem else MIDDLE.der)
    encoding = Encoding.PEM if pem else Encoding.DER
    (tmp_path / "crl" / f"{name}.crl").write_bytes(crl.public_bytes(encoding))
    (tmp_path / "trusted" / "broken.der").write_bytes(b"junk")
    (tmp_path / "crl" / "broken").write_bytes(MIDDLE.pem)
    lists = TrustStore(tmp_path).lists()
    assert len(lists.unreadable) == 2
    assert faults(LEAF, lists) == ["revoked"]


def test_our_certificate_is_made_once_and_anew_before_it_ends(tmp_path: Path) -> None:
    store = TrustStore(tmp_path)
    first = store.own("urn:host:a", ["host", "127.0.0.1"], NOW)
    assert first.made_now and (tmp_path / "own" / "key.pem").stat().st_mode & 0o777 == 0o600
    again = store.own("urn:other", ["other"], NOW + timedelta(days=690))
    assert (again.sha256, again.uri, again.made_now) == (first.sha256, "urn:host:a", False)
    renewed = store.own("urn:other", ["other"], NOW + timedelta(days=710))
    assert renewed.made_now and renewed.key == first.key and renewed.uri == "urn:host:a"
    found = x509.load_der_x509_certificate(renewed.der)
    assert found.not_valid_after_utc > NOW + timedelta(days=1400)


def test_a_certificate_that_somebody_put_there_stays(tmp_path: Path) -> None:
    theirs = make("theirs", ROOT, uris=("urn:theirs",), ends=NOW + DAY)
    certificate, key = theirs.write(tmp_path / "own")
    certificate.rename(tmp_path / "own" / "certificate.der")
    key.rename(tmp_path / "own" / "key.pem")
    own = TrustStore(tmp_path).own("urn:ours", ["host"], NOW)
    assert (own.uri, own.made_now, own.der) == ("urn:theirs", False, theirs.der)


def test_an_issuer_is_kept_to_its_limits() -> None:
    short = authority("short", path_length=0)
    below = authority("below", short)
    leaf = make("leaf", below)
    crls = (revocation_list(short), revocation_list(below))
    assert faults(make("direct", short), trusting(short, crls=crls)) == []
    assert faults(leaf, trusting(short, issuers=(below.certificate,), crls=crls)) == ["trust"]
    limited = authority("limited", only_for="only.example")
    certified = make("certified", limited)
    assert faults(certified, trusting(limited, crls=(revocation_list(limited),))) == ["trust"]


def test_a_first_use_counts_for_its_source_alone(tmp_path: Path) -> None:
    store = TrustStore(tmp_path)
    assert store.first_used(ALONE.certificate, "x/s/a")
    assert store.first_used(ALONE.certificate, "x/s/a")
    assert not store.first_used(LEAF.certificate, "x/s/a")
    assert store.first_used(LEAF.certificate, "x/s/b")
    assert not store.lists().trusted
    assert {each.source for each in store.listed("first_use")} == {"x/s/a", "x/s/b"}
