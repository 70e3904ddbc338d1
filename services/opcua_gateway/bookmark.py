"""How far the messages of a source's session are on our disk. The outbox keeps it with their rows,
so that it is true after any end of the process; used by deliveries.py and resumption.py. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(slots=True)
class Bookmark:
    """The number of the next message of each subscription.

    Attributes:
        session: our own name of it, since a server may give the numbers of an older one again;
            empty: none.
        at: microseconds since 1970 up to which values are there; 0: not known.
    """

    session: str = ""
    at: int = 0
    _next: dict[int, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Bookmark:
        """Of what `text` made; an empty one of anything else."""
        try:
            found = json.loads(text)
            numbers = {int(name): int(number) for name, number in found["next"].items()}
            return cls(str(found["session"]), int(found["at"]), numbers)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()

    @property
    def text(self) -> str:
        """For the outbox."""
        found = {"session": self.session, "at": self.at, "next": self._next}
        return json.dumps(found, separators=(",", ":"))

    def reached(self, subscription: int, expected: int, at: int) -> None:
        """All of a subscription before the message `expected` goes to the disk with this; `at`:
        what its values are dated."""
        self._next[subscription], self.at = expected, at

    def expected(self, session: str, subscription: int) -> int | None:
        """The number of the message that a subscription goes on with: the first where nothing of it
        is on the disk. None: the session has no name, as those of older versions."""
        if not session:
            return None
        return self._next.get(subscription, 1) if session == self.session else 1
