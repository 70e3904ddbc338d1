"""Qualities as payloads write them, to OPC UA status codes. Pure; called by json_payload.py and
sparkplug/values.py."""

from __future__ import annotations

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.sample import BAD, GOOD

UNCERTAIN = 0x40000000
"""OPC UA Uncertain: a quality that is known to be neither good nor bad, or that nobody knows."""

_STALE = 500
_FIRST_STATUS_CODE = 0x40000000
_WORDS = {
    "ok": GOOD,
    "valid": GOOD,
    "true": GOOD,
    "invalid": BAD,
    "error": BAD,
    "fault": BAD,
    "false": BAD,
    "questionable": UNCERTAIN,
    "unknown": UNCERTAIN,
    "stale": UNCERTAIN_LAST_USABLE,
}
_FIRST_WORDS = {"good": GOOD, "bad": BAD, "uncertain": UNCERTAIN}


def of_sparkplug(quality: object) -> int | None:
    """The status of a metric's property Quality (Sparkplug 3.0, 6.4.11): 0 bad, 192 good, 500
    stale; None for any other, which the specification does not know."""
    if isinstance(quality, bool) or not isinstance(quality, int):
        return None
    return {0: BAD, 192: GOOD, _STALE: UNCERTAIN_LAST_USABLE}.get(quality)


def of_json(quality: object) -> int | None:
    """The status that a member `quality` says; None where it is none that is known.

    - Words: good, bad, uncertain and what starts with them (`BadNoCommunication`), stale, and a
      few more, in any case; true and false.
    - 0 to 255: the low byte of OPC DA (0 bad, 64 uncertain, 192 good, with sub-status); 500 stale.
    - From 0x40000000, or negative: an OPC UA status code, kept as it is.
    """
    if isinstance(quality, bool):
        return GOOD if quality else BAD
    if isinstance(quality, float) and quality.is_integer():
        quality = int(quality)  # 0.0 is bad as 0 is
    if isinstance(quality, str):
        return _of_word(quality.strip().casefold())
    if not isinstance(quality, int):
        return None
    if 0 <= quality <= 0xFF:
        return {0: BAD, 1: UNCERTAIN, 3: GOOD}.get(quality >> 6)
    if quality == _STALE:
        return UNCERTAIN_LAST_USABLE
    if -(2**31) <= quality < 0 or _FIRST_STATUS_CODE <= quality <= 0xFFFFFFFF:
        return quality & 0xFFFFFFFF
    return None


def _of_word(word: str) -> int | None:
    if word in _WORDS:
        return _WORDS[word]
    for first, status in _FIRST_WORDS.items():
        if word.startswith(first):
            return status
    try:
        return of_json(int(word, 0)) if len(word) < 20 else None
    except ValueError:
        return None
