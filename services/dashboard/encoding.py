"""Values as the stream carries them. Pure; called by live.py."""

from __future__ import annotations

import base64
import math

from aurelian.model.sample import MAX_EXACT_INT, Value

SHOWN_TEXT = 120
"""Longer texts are cut in the stream; the history API has them whole."""


def to_json(value: Value) -> object:
    """A value as JSON carries it without loss of meaning: big integers and bytes as text, long
    texts cut."""
    match value:
        case bool() | None:
            return value
        case int():
            return value if abs(value) <= MAX_EXACT_INT else str(value)
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value[:SHOWN_TEXT]).decode()
        case str():
            return value if len(value) <= SHOWN_TEXT else value[: SHOWN_TEXT - 1] + "…"
