"""How far one source is: when its server was heard, up to when all is on our disk, what of a gap is
not told yet. From this every gap record has its begin; used by deliveries.py and resumption.py."""

from __future__ import annotations

from collections.abc import Callable

from aurelian.model import codec
from opcua_gateway.bookmark import Bookmark
from opcua_gateway.happenings import Message

MOST_AHEAD_US = 3_600_000_000
"""What is dated further away is no live value, or its clock means nothing."""

_SET_BACK_US = 60_000_000
"""Our clock was set back where a message is dated so long before the last one; a gap must not begin
ahead of its end."""


class Progress:
    """Remembers it. All times are microseconds since 1970, 0: none yet.

    Attributes:
        heard_at: of the last message; a gap begins here.
        stored_at: of the last one up to which all is on the disk: there a gap begins for whoever
            comes after us.
        data_at: of the last values.
        untold: a gap from when to when whose record is not on the disk yet: whoever comes after us
            tells it, also where the session is resumed.
        bookmark: what is on the disk, or on its way there.
        on_the_way: how many deliveries are on their way to the disk.
    """

    def __init__(self) -> None:
        self.heard_at = self.stored_at = self.data_at = 0
        self.untold: tuple[int, int] | None = None
        self.bookmark = Bookmark()
        self.on_the_way = 0
        # By how much live values are dated after they come; before: negative, as it is the rule.
        self._ahead = 0

    def go_on(self, before: Progress, bookmark: Bookmark) -> None:
        """Begin where the disk is, after one that ended; its bookmark is there."""
        self.heard_at = self.stored_at = max(before.stored_at, bookmark.at)
        self.untold, self.bookmark = before.untold, bookmark

    def began(self, session: str, at: int) -> None:
        """A session is up, resumed or new; `session`: our name of it."""
        if session != self.bookmark.session:
            self.bookmark = Bookmark(session)
        if not self.heard_at:
            # The first of all: from now on something can be missed.
            self.heard_at = self.stored_at = at

    def dated(self, newest: int, at: int) -> None:
        """The newest of the live values that came `at` has this time."""
        if abs(newest - at) < MOST_AHEAD_US:
            self._ahead = newest - at

    def span(self, to: int) -> tuple[int, int]:
        """From when to when something may be missing up to now (`to`), by the times that values
        carry: those of the server's clock."""
        # After our clock was set back, the last message lies ahead.
        begin = min(self.heard_at or to, to) + min(self._ahead, 0)
        return begin, to + max(self._ahead, 0)

    def told(self, gap: codec.Gap) -> Callable[[], None]:
        """A gap goes to the disk; what notes that it is there. Before, nothing after it counts as
        stored."""
        begin, to = gap.from_time, gap.to_time
        # If it does not come to the disk, what is on its way there before it does not either.
        waiting = self.untold = min(begin, self.stored_at or begin), to
        self.on_the_way += 1

        def stored() -> None:
            self.on_the_way -= 1
            if self.untold is waiting:
                self.untold = None

        return stored

    def took(self, message: Message, has_values: bool) -> None:
        """A message, or a sign of life, goes on."""
        at = self.heard_at = message.received_at
        if has_values:
            self.data_at = at
        if message.acknowledgements is not None:
            self.on_the_way += 1
        elif not self.on_the_way:
            self.stored_at = self._reaches(message)

    def reached(self, message: Message) -> str:
        """What the outbox shall note with a message; a sign of life has nothing but losses."""
        if not self.bookmark.session or (message.acknowledgements is None and not message.lost):
            return ""
        published = message.published
        self.bookmark.reached(published.subscription, message.expected, self._reaches(message))
        return self.bookmark.text

    def stored(
        self, message: Message, alarms_stored: Callable[[], None] | None
    ) -> Callable[[], None] | None:
        """What notes that a message is on the disk, and acknowledges it; None: nothing is to."""
        book = message.acknowledgements
        if book is None:
            return None
        at = self._reaches(message)  # now: what comes until it is stored is dated otherwise

        def stored() -> None:
            self.on_the_way -= 1
            if alarms_stored is not None:
                alarms_stored()
            is_set_back = self.stored_at - at > _SET_BACK_US
            self.stored_at = at if is_set_back else max(self.stored_at, at)
            book.stored(message.published.sequence)

        return stored

    def _reaches(self, message: Message) -> int:
        """Up to when the message that came just now brings values, by its own times: one that was
        sent again has older ones than those after it."""
        return message.received_at + min(self._ahead, 0)
