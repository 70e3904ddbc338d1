"""Ways to damage a message, as values that Hypothesis can draw and shrink."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
"""Of lengths and counts."""

LARGEST = 200_000
"""Bytes that a damaged message has at most."""

KINDS = ("flip", "byte", "length", "cut", "delete", "repeat", "splice")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change.

    Attributes:
        kind: one of `KINDS`.
        place: where, as a part of the message.
        number: what or how much, by kind.
    """

    kind: str
    place: float
    number: int


def damaged(data: bytes, mutations: Sequence[Mutation], others: Sequence[bytes]) -> bytes:
    """A message with all changes; `others`: where pieces come from."""
    for each in mutations:
        data = _changed(data, each, others)[:LARGEST]
    return data


def random_mutations(rng: random.Random) -> list[Mutation]:
    """One to five changes."""
    return [
        Mutation(rng.choice(KINDS), rng.random(), rng.getrandbits(16))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5)))
    ]


def _changed(data: bytes, mutation: Mutation, others: Sequence[bytes]) -> bytes:
    at, number = int(mutation.place * len(data)), mutation.number
    if at >= len(data):
        return data
    match mutation.kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ 1 << number % 8]) + data[at + 1 :]
        case "byte":
            return data[:at] + bytes([number % 256]) + data[at + 1 :]
        case "length":
            value = struct.pack("<I", EXTREMES[number % len(EXTREMES)])
            return data[:at] + value + data[at + 4 :]
        case "cut":
            return data[:at]
        case "delete":
            return data[:at] + data[at + 1 + number % 16 :]
        case "repeat":
            size = 1 + number % 64
            return data[:at] + data[at : at + size] * (2 + number % 2000) + data[at + size :]
    other = others[number % len(others)]
    begin = number % max(len(other), 1)
    return data[:at] + other[begin : begin + 8 + number % 300] + data[at:]
