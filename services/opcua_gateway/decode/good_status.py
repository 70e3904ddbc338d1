"""Odd status codes that a plant file counts as good: the severity is taken out of the code and kept
as a flag, so that the raw code is not lost (`sample.raw_status`). Pure; called by deliveries.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from aurelian.edge.columns import Numbers
from aurelian.model.sample import Flag
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import Notification

_CODE, _SEVERITY = 0xFFFF0000, 0xC0000000
_SHIFT = 20
"""From a severity to its flags, WAS_UNCERTAIN and WAS_BAD."""


class GoodStatus:
    """The codes of one source; `codes`: without their lower 16 bits."""

    def __init__(self, codes: Collection[int]) -> None:
        self._codes = frozenset(codes)
        self._column = np.array(sorted(self._codes), np.uint32)

    def of(self, published: Published) -> Published:
        """A message with its odd codes counted as good."""
        if not self._codes:
            return published
        return replace(
            published,
            numbers=tuple(map(self._of_numbers, published.numbers)),
            others=tuple(self.of_notifications(published.others)),
        )

    def of_notifications(self, notifications: Iterable[Notification]) -> list[Notification]:
        """The same of values one by one."""
        if not self._codes:
            return list(notifications)
        return [
            each._replace(
                status=each.status & ~_SEVERITY,
                flags=each.flags | Flag((each.status & _SEVERITY) >> _SHIFT),
            )
            if each.status & _CODE in self._codes
            else each
            for each in notifications
        ]

    def _of_numbers(self, numbers: Numbers) -> Numbers:
        if not numbers.status.any():
            return numbers
        odd = np.isin(numbers.status & np.uint32(_CODE), self._column)
        if not odd.any():
            return numbers
        severity = np.where(odd, numbers.status & np.uint32(_SEVERITY), np.uint32(0))
        return replace(
            numbers, status=numbers.status ^ severity, flags=severity >> np.uint32(_SHIFT)
        )
