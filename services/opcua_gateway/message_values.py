"""The values of a server's messages as readings and columns; remembers which values are a node's
first, and when each was heard last. Called by deliveries.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME, Columns, Numbers, SignalTable
from aurelian.edge.gateway import Reading
from aurelian.model.source_model import SourceModel
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import (
    Notification,
    Tag,
    historical_reading,
    overflowed,
    to_reading,
    without_overflow,
)


class Values:
    """Of the nodes of one source.

    Attributes:
        names: by handle the names of the numbers of nodes that are enumerations.
        initial: (n,) by handle whether the node's next value is its first in this session.
        last_time: (n,) by handle the source time of its last value, `NO_TIME` before.
    """

    def __init__(self, model: SourceModel, owner: str, tags: Sequence[Tag]) -> None:
        self._event_time, self._tags = model.event_time, tags
        self.names: Mapping[int, Mapping[int, str]] = {}
        self._table = SignalTable(
            owner, [(tag.unit, tag.model, tag.signal, tag.unit.line.path) for tag in tags]
        )
        self.initial = np.zeros(len(tags), np.bool_)
        self.last_time = np.full(len(tags), NO_TIME, np.int64)

    def without_known_losses(self, published: Published) -> Published:
        """Where the queue of a server that takes over lost values that came of the one before, its
        next value is as that one gave it: else it would be another value at the same time."""
        if not self.initial.any():
            return published
        last = np.append(self.last_time, NO_TIME)  # of all other handles
        numbers, others = [], []
        for each in published.numbers:
            known = each.source_time <= last[np.minimum(each.handle, len(self._tags))]
            known &= overflowed(each.status) & (each.source_time != NO_TIME)
            status = np.where(known, without_overflow(each.status), each.status)
            numbers.append(replace(each, status=status) if known.any() else each)
        for one in published.others:
            time = NO_TIME if one.source_time is None else one.source_time
            if time != NO_TIME and time <= last[min(one.handle, len(self._tags))]:
                status = np.array([one.status], np.uint32)
                if overflowed(status)[0]:
                    one = one._replace(status=int(without_overflow(status)[0]))
            others.append(one)
        return replace(published, numbers=tuple(numbers), others=tuple(others))

    def of(self, published: Published) -> tuple[Columns | None, list[Reading]]:
        """A message's values: many numbers as columns, all else as readings."""
        numbers = published.numbers
        others = {each.handle for each in published.others}
        if (
            not numbers
            or self._event_time != "source"
            or (
                # Not beside each other: the order of a signal's values must stay.
                others and any(np.isin(each.handle, list(others)).any() for each in numbers)
            )
        ):
            return None, self.one_by_one(published.notifications)
        if any((each.handle >= len(self._tags)).any() for each in numbers):
            numbers = tuple(each.take(each.handle < len(self._tags)) for each in numbers)
        if self.names and numbers:
            named = np.zeros(len(self._tags), np.bool_)
            named[[handle for handle in self.names if handle < len(named)]] = True
            if any(named[each.handle].any() for each in numbers):
                return self._columns_without(named, numbers, published)
        return self._columns(numbers), self.one_by_one(published.others)

    def _columns(self, numbers: tuple[Numbers, ...]) -> Columns:
        # A copy: it is read after ours went on.
        initial = self.initial.copy() if self.initial.any() else None
        return Columns(self._table, numbers, initial)

    def _columns_without(
        self, named: NDArray[np.bool_], numbers: tuple[Numbers, ...], published: Published
    ) -> tuple[Columns, list[Reading]]:
        """Enumerations are named one by one, the other numbers stay columns."""
        rest = tuple(each.take(~named[each.handle]) for each in numbers)
        named_ones = [
            each
            for each in published.notifications
            if each.handle < len(named) and named[each.handle]
        ]
        others = [
            each for each in published.others if each.handle < len(named) and not named[each.handle]
        ]
        return self._columns(rest), self.one_by_one([*named_ones, *others])

    def one_by_one(
        self, notifications: Iterable[Notification], *, repeated: bool = False
    ) -> list[Reading]:
        """Values as a reading each; `repeated`: none is a node's first."""
        return [
            to_reading(
                self._tags[each.handle],
                each,
                initial=not repeated and bool(self.initial[each.handle]),
                names=self.names.get(each.handle),
                event_time=self._event_time,
            )
            for each in notifications
            if each.handle < len(self._tags)
        ]

    def historical(self, found: Iterable[Notification]) -> list[Reading]:
        """Values out of the server's history."""
        return [
            historical_reading(
                self._tags[each.handle], each, self.names.get(each.handle), self._event_time
            )
            for each in found
        ]
