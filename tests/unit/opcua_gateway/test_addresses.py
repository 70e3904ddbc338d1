"""Node ids as people write them: what is meant is found, or the answer says what to write."""

from __future__ import annotations

import base64

import pytest
from asyncua import ua

from aurelian.model.addresses import AddressError, parse_address


@pytest.mark.parametrize("written", ["0xABCD==", "0x==", "AP8=", "0xAB0xAB"])
def test_bytes_of_a_node_id_are_those_of_their_base64(written: str) -> None:
    """Base64 that begins with `0x` was taken for hexadecimal digits; where it is none no node of
    the source was watched."""
    node = parse_address(f"ns=1;b={written}").node_id([""])
    assert node is not None
    assert ua.NodeId.from_string(node).Identifier == base64.b64decode(written)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2:Press/2:Force", "aurelian browse URL --filter"),
        ("Objects.Press.Force", "aurelian browse URL --filter"),
        ("NS=2;S=Press", "did you mean 'ns=2;s=Press'"),
        ("ns=2; s=Press", "did you mean 'ns=2;s=Press'"),
        (" ns = 2;i=1001 ", "did you mean 'ns=2;i=1001'"),
        ("nsu=urn:a;b;s=Press", "%3B"),
        ("svr=1;nsu=urn:a;s=Press", "source of its own"),
        ("ns=65536;s=Press", "65535 at most"),
        ("ns=2;i=4294967296", "4294967295"),
        ("ns=2;g=123", "GUID"),
        ("ns=2;b=AAA", "base64"),
        ("ns=٢;i=5", "say nsu="),
        ("ns=2;x=5", "say nsu="),
        ("ns=2;s=", "say nsu="),
    ],
)
def test_what_is_no_node_id_is_answered_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(text)
    assert hint in str(refused.value) and repr(text) in str(refused.value)
