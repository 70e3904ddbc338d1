"""What a fold does when the log of a partition is not as it left it."""

from aurelian.backbone.position import Action, LogRange
from aurelian.db.offsets import Claim, fingerprint
from aurelian.fold.partitions import OwnedPartition
from aurelian.model.record import Record


def _record(offset: int, value: bytes = b"v") -> Record:
    return Record("t", 0, offset, 1_000 + offset, b"k", value)


def _partition(next_offset: int = 10) -> OwnedPartition:
    last = fingerprint(_record(next_offset - 1)) if next_offset else None
    return OwnedPartition(Claim(next_offset, 1, None, last), "log-1")


def test_reading_begins_one_record_early_and_that_record_is_known_again() -> None:
    partition = _partition()
    assert partition.begin(LogRange(0, 20)).action is Action.CONTINUE
    assert partition.read_from == 9
    assert partition.matches(_record(9)) is True
    partition.advance(_record(10))
    assert (partition.next, partition.last) == (11, fingerprint(_record(10)))


def test_another_record_before_the_offset_halts() -> None:
    partition = _partition()
    partition.begin(LogRange(0, 20))
    matches = partition.matches(_record(9, b"other"))
    assert matches is False
    assert partition.resume(LogRange(0, 20), matches).action is Action.HALT


def test_a_record_that_comes_a_second_time_halts() -> None:
    partition = _partition()
    partition.begin(LogRange(0, 20))
    assert partition.matches(_record(9))
    partition.advance(_record(10))
    assert partition.matches(_record(10)) is False
    assert partition.matches(_record(3)) is False


def test_where_the_record_before_is_deleted_reading_begins_at_the_offset() -> None:
    partition = _partition()
    assert partition.begin(LogRange(10, 20)).action is Action.CONTINUE
    assert partition.read_from == 10


def test_deleted_records_are_a_loss_at_the_start_and_while_it_runs() -> None:
    partition = _partition()
    decision = partition.begin(LogRange(13, 20))
    assert (decision.action, decision.lost, partition.read_from) == (Action.SKIP, 3, 13)
    partition.advance(_record(13))
    assert partition.matches(_record(18)) is None
    decision = partition.resume(LogRange(18, 20), None)
    assert (decision.action, decision.lost, partition.next) == (Action.SKIP, 4, 18)


def test_offsets_without_records_inside_the_log_are_no_loss() -> None:
    partition = _partition()
    partition.begin(LogRange(0, 20))
    partition.advance(_record(10))
    assert partition.resume(LogRange(0, 20), partition.matches(_record(15))).lost == 0


def test_a_log_that_nothing_was_read_of_begins_at_its_start() -> None:
    partition = _partition(0)
    decision = partition.begin(LogRange(7, 20))
    assert (decision.action, decision.lost, partition.read_from) == (Action.BEGIN, 0, 7)
