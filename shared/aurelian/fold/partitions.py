"""Where a fold is in a partition that it owns, and what it does when the log is not as it left it.
Used by session.py. Pure."""

from __future__ import annotations

from aurelian.backbone.position import Action, Decision, LogRange, SavedOffset, decide
from aurelian.db.offsets import Claim, Fingerprint, fingerprint
from aurelian.model.record import Record


class OwnedPartition:
    """Progress in one partition, from the claim on.

    Reading begins one record before the committed offset where that record is still there: if it is
    another one than was folded, so is the log.

    Attributes:
        claim: what we claimed.
        committed: next offset as the database has it.
        next: next offset after what was folded.
        read_from: offset to read from; known after `begin`.
    """

    __slots__ = ("_last", "_log_id", "_unverified", "claim", "committed", "next", "read_from")

    def __init__(self, claim: Claim, log_id: str) -> None:
        self.claim, self._log_id = claim, log_id
        self.next = self.committed = self.read_from = claim.next_offset
        self._last: Record | Fingerprint | None = claim.fingerprint
        self._unverified = claim.fingerprint is not None

    @property
    def last(self) -> Fingerprint | None:
        """Fingerprint of the record before `next`; None: not known."""
        return fingerprint(self._last) if isinstance(self._last, Record) else self._last

    def begin(self, log: LogRange) -> Decision:
        """Decide where to read from in a partition that was just assigned."""
        decision = self._apply(self._decide(log, None))
        self._unverified &= decision.action is Action.CONTINUE and log.start < self.next
        self.read_from = self.next - 1 if self._unverified else self.next
        return decision

    def matches(self, record: Record) -> bool | None:
        """Tell whether the record that was read is the one before `next`; None: it comes later."""
        if record.offset >= self.next:
            return None
        wanted, self._unverified = self._unverified, False
        return wanted and record.offset == self.next - 1 and fingerprint(record) == self.last

    def resume(self, log: LogRange, matches: bool | None) -> Decision:
        """Decide how to go on after a record that does not follow the one before it."""
        return self._apply(self._decide(log, matches))

    def advance(self, record: Record) -> None:
        """Note that the record was folded."""
        self.next, self._last = record.offset + 1, record

    def _decide(self, log: LogRange, matches: bool | None) -> Decision:
        never = self.claim.is_first and self.next == 0
        saved = None if never else SavedOffset(self._log_id, self.next)
        return decide(saved, self._log_id, log, last_record_matches=matches)

    def _apply(self, decision: Decision) -> Decision:
        if decision.action in (Action.BEGIN, Action.SKIP):
            self.next, self._last = decision.offset, None
        return decision
