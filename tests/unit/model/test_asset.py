"""Asset records: what a reader takes, and what it refuses with the asset's name."""

import json
from typing import Any

import pytest

from aurelian.model.asset import Asset, AssetError, decode_asset

SIGNAL = {"id": "s1", "name": "speed", "type": 1, "unit": "Hz", "role": "other", "limits": None}


def _asset(signals: Any) -> Asset:
    meaning = {} if signals is None else {"signals": signals}
    return Asset("a", "acme", None, "unit", "saw", "acme/north/saw", meaning)


@pytest.mark.parametrize(
    ("signals", "ids"),
    [
        (None, []),
        ([], []),
        ([SIGNAL], ["s1"]),
        ([{"id": "s1", "name": "speed"}], ["s1"]),
        ([{**SIGNAL, "role": "of a later version", "limits": {"of": 2}}], ["s1"]),
    ],
)
def test_signals_are_read_as_they_stand(signals: Any, ids: list[str]) -> None:
    asset = decode_asset(_asset(signals).encode())
    assert asset is not None
    assert [each["id"] for each in asset.signal_records()] == ids


@pytest.mark.parametrize(
    "signals",
    [
        {"id": "s1"},
        ["s1"],
        [{"name": "speed"}],
        [{**SIGNAL, "id": 7}],
        [{**SIGNAL, "name": None}],
        [{**SIGNAL, "type": "double"}],
        [{**SIGNAL, "unit": 1}],
        [{**SIGNAL, "role": ["state"]}],
        [{**SIGNAL, "limits": [1]}],
    ],
)
def test_signals_that_nobody_could_store_name_their_asset(signals: Any) -> None:
    with pytest.raises(AssetError, match="acme/north/saw"):
        _asset(signals).signal_records()


def test_a_tombstone_is_no_asset_and_garbage_says_so() -> None:
    assert decode_asset(None) is None and decode_asset(b"") is None
    for value in (b"{", b"[]", json.dumps({"id": "a"}).encode()):
        with pytest.raises(AssetError, match="not an asset"):
            decode_asset(value)
