"""Which record made a fold fail, so that it is set aside and the others go on (D10). Used by run.py
and session.py. Pure.

A transaction holds the effects of many records. When it fails for another reason than that
something is away, the next session commits them one by one, and the one that fails `MOST` times is
refused: its bytes stay in Kafka, and the historian has them among the rejected.
"""

from __future__ import annotations

from aurelian.model.record import Partition

MOST = 3
IN_A_ROW = 20
"""When so many records are refused without a good one between, the fold itself is at fault."""

_REMEMBERED = 10_000

Place = tuple[Partition, int]
"""A record: its partition and offset."""


class Suspects:
    """The records since the last commit.

    Attributes:
        one_by_one: how many more records are committed alone.
    """

    def __init__(self) -> None:
        self.one_by_one = 0
        self._folded: list[Place] = []
        self._failures: dict[Place, int] = {}
        self._in_a_row = 0

    def add(self, partition: Partition, offset: int) -> None:
        """Note that a record is folded now."""
        self._folded.append((partition, offset))

    def clear(self) -> None:
        """Note that all of them are committed."""
        self.one_by_one = max(0, self.one_by_one - len(self._folded))
        if any(not self.is_refused(*place) for place in self._folded):
            self._in_a_row = 0
        self._folded.clear()

    def forget(self) -> None:
        """Note that they are dropped, to be read again."""
        self._folded.clear()

    def is_refused(self, partition: Partition, offset: int) -> bool:
        """Whether the record failed too often."""
        return self._failures.get((partition, offset), 0) >= MOST

    def blame(self) -> Place | None:
        """Note that what was folded since the last commit failed.

        Returns the record that is refused from now on, if it is known; None: look further.

        Raises:
            LookupError: no record is to blame: none was folded, or `IN_A_ROW` failed one after
                the other.
        """
        if not self._folded:
            raise LookupError
        self.one_by_one = max(self.one_by_one, len(self._folded) + 1)
        if len(self._folded) > 1:
            return None
        place = self._folded[0]
        if len(self._failures) >= _REMEMBERED:
            del self._failures[next(iter(self._failures))]
        self._failures[place] = self._failures.get(place, 0) + 1
        if self._failures[place] < MOST:
            return None
        self._in_a_row += 1
        if self._in_a_row > IN_A_ROW:
            raise LookupError
        return place
