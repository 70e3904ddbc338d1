"""How a source comes back to the session of before: what is kept of it, in memory and on the disk,
and when it is given up; used by source.py."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace

from aurelian.model.time import now_us
from opcua_gateway.bookmark import Bookmark
from opcua_gateway.history.holes import Holes
from opcua_gateway.message_numbers import Acknowledgements, Window
from opcua_gateway.progress import Progress
from opcua_gateway.publishing import Publishing
from opcua_gateway.resume import SAVE_US, Resume, ResumeFile
from opcua_gateway.session import Session
from opcua_gateway.subscription import Standing
from opcua_gateway.units_heard import UnitsHeard

_MOST_RESUMPTIONS = 4
"""Of one session without a message between, or attempts at it: then it is given up."""


class Resumption:
    """What brings one source back. `asked`: fingerprint of what is asked for its nodes.

    Attributes:
        servers: url and ApplicationUri of those that a server named as redundant.
        resumptions: of one session in a row, without a message between.
        session: our name of the newest one, see `Bookmark`.
        fits: whether what the session of before watches is what is asked for now.
    """

    def __init__(self, file: ResumeFile, addresses: Sequence[str], asked: str) -> None:
        self._file, self._addresses, self._asked = file, tuple(addresses), asked
        self.servers: tuple[tuple[str, str], ...] = ()
        self.resumptions = 0
        self.session = ""
        self.fits = True
        self._bookmark = Bookmark()
        self._not_resumed = 0  # attempts in a row
        self._resume: Resume | None = None
        self._given_up = "", ""
        # Of the session before, in this process.
        self._standings: list[Standing] = []
        self._refused: dict[int, int] = {}
        self._saved_at = self._saved_changes = 0

    @property
    def url(self) -> str:
        """Of the server whose session there is to go back to; empty: there is none."""
        return self._resume.url if self._resume is not None and self._resume.secret else ""

    def begin_anew(self, bookmark: Bookmark) -> None:
        """What was on its way when the source ended was not stored: the server has it still, from
        the `bookmark` on."""
        self._standings, self._refused = [], {}
        self._bookmark = bookmark

    def load(self, progress: Progress, holes: Holes, units: UnitsHeard, url: str) -> None:
        """Read what the run before this one left; `url`: of the source's first server."""
        if self._resume is not None or (found := self._file.load()) is None:
            return
        # What is ahead of us was written before this machine's clock was set back.
        stored_at = max(found.heard_at, progress.bookmark.at)
        progress.heard_at = progress.stored_at = min(stored_at, now_us())
        progress.untold = found.untold
        if found.unread is not None:
            holes.reopen(*found.unread)
        self.servers = found.servers
        # One that watches other nodes is gone back to as well, to end what it watches: it would
        # stand beside the new one, and servers have room for few.
        self._resume = replace(found, url=found.url or url)
        # A file of before says nothing of what was asked.
        self.fits = found.addresses == self._addresses and found.asked in ("", self._asked)
        if self.fits:
            units.refused(found.silent)
            self.session = found.session

    def save(
        self, progress: Progress, holes: Holes, units: UnitsHeard, *, soon: bool = False
    ) -> None:
        """Write it for the next process; `soon`: while the event loop goes on."""
        if self._resume is None:
            return
        self._saved_at = progress.heard_at
        resume = replace(
            self._resume,
            heard_at=progress.stored_at,
            unread=holes.unread,
            untold=progress.untold,
            servers=self.servers,
            silent=units.silent_nodes,
        )
        self._saved_changes = units.changes
        if soon:
            self._file.save_soon(resume)
        else:
            self._file.save(resume)

    def of(self, url: str) -> Resume | None:
        """What brings us back to the session at a server; None: there is none."""
        return self._resume if url and url == self.url else None

    def resumed(self, resume: Resume, session: Session) -> None:
        """The session is resumed: what we sign next time is for what the server gave just now."""
        self._resume = replace(resume, secret=session.secret)
        self.resumptions += 1

    def began(self) -> None:
        """A new session: the first message of it saves what brings us back."""
        self.forget()
        self.fits = True
        self._saved_at = 0
        self.session = secrets.token_hex(4)

    def keeps(self, session: Session) -> bool:
        """Whether what is kept brings us back to a session."""
        return self._resume is not None and _token(self._resume.secret) == _token(session.secret)

    def take_given_up(self) -> tuple[str, str]:
        """Url and secret of the session that did not go on, once; empty: there is none."""
        taken, self._given_up = self._given_up, ("", "")
        return taken

    def left_of(self, resume: Resume, window: Window) -> tuple[list[Standing], dict[int, int]]:
        """How far the subscriptions of the session before are, and the nodes that it refused: as
        this process knows it, else as the one before left it."""
        known = {each.terms: each for each in self._standings}
        standings = [
            known.get(terms)
            or Standing(
                terms,
                Acknowledgements(window),
                self._bookmark.expected(resume.session, terms.subscription),
            )
            for terms in resume.terms
        ]
        return standings, self._refused or dict.fromkeys(resume.refused, 0)

    def remember(self, session: Session, publishing: Publishing, url: str, at: int) -> None:
        """A message of a session came, so that it can be resumed; `at`: microseconds since
        1970."""
        self.resumptions = 0
        self._resume = Resume(
            session.secret,
            tuple(each.terms for each in publishing.subscriptions.values()),
            publishing.limits,
            self._addresses,
            tuple(publishing.refused),
            at,
            url=url,
            asked=self._asked,
            events=publishing.events.terms if publishing.events is not None else None,
            session=self.session,
        )

    def found(self, servers: Iterable[tuple[str, str]]) -> None:
        """Keep the servers that one names: it may be away when we begin the next time."""
        self.servers = tuple(servers)

    def is_due(self, at: int, units: UnitsHeard) -> bool:
        """Whether it is time to save, or a unit fell silent or is heard again; `at`: microseconds
        since 1970."""
        # Before: this machine's clock was set back.
        is_old = not 0 <= at - self._saved_at < SAVE_US
        return is_old or self._saved_changes != units.changes

    def ended(self, publishing: Publishing) -> None:
        """The session is lost: how far it was."""
        self._standings, self._refused = publishing.standings, publishing.refused
        if self._resume is not None:
            # Those that were opened since the last message too.
            terms = tuple(each.terms for each in self._standings)
            self._resume = replace(self._resume, terms=terms)

    def failed(self, *, not_resumed: bool, refused: bool) -> None:
        """An attempt failed: `not_resumed`, the server neither took us back nor said that it does
        not know us; `refused`: it says itself that what was resumed cannot go on."""
        self._not_resumed = self._not_resumed + 1 if not_resumed else 0
        in_vain = max(self.resumptions, self._not_resumed)
        if in_vain >= _MOST_RESUMPTIONS and self._resume is not None:
            self._given_up = self.url, self._resume.secret
        if in_vain >= _MOST_RESUMPTIONS or (refused and self.resumptions):
            self.forget()

    def remove(self, *, keeps_file: bool) -> tuple[str, str]:
        """Nobody comes back to the session; its server's url and its secret, empty: there is
        none. `keeps_file`: it is another source's by now."""
        left = self.url, self._resume.secret if self._resume is not None else ""
        self.forget()
        if not keeps_file:
            self._file.remove()
        return left

    def forget(self) -> None:
        """What cannot be resumed must not be tried again and again."""
        self.resumptions = self._not_resumed = 0
        if self._resume is not None:
            self._resume = replace(self._resume, secret="")


def _token(secret: str) -> str:
    """The part of `Session.secret` that stays the session's own; what is signed next changes."""
    return (secret + "\n").split("\n")[1]
