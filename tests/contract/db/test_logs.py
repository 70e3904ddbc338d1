"""Declared logs: a cluster that lost a part of its log gets a new log under the same cluster id."""

from __future__ import annotations

from aurelian.db.engine import as_role, connect
from aurelian.db.logs import (
    declare_first_log,
    declare_new_log,
    halted_partitions,
    is_log_of,
)
from aurelian.db.offsets import claim, halt
from aurelian.model.record import Partition

CLUSTER = "mVYJ2fJ3TDWpYzq0y9uE6A"
ONE = Partition("topic", 1)
TOPIC_IDS = {"topic": "qT3sYk9fQbC0v4m1WZr8Xg"}


async def test_a_new_log_of_the_same_cluster_has_another_id_and_no_halts(
    database_url: str,
) -> None:
    assert declare_first_log(database_url, CLUSTER) == CLUSTER
    url = as_role(database_url, "historian")
    async with await connect(url, autocommit=True) as conn:
        await claim(conn, "historian", "test", CLUSTER, [ONE], TOPIC_IDS)
        async with conn.transaction():
            await halt(conn, "historian", "test", CLUSTER, ONE, 1, "the log ends at 94")
        assert halted_partitions(database_url) == ["test has halted topic[1]: the log ends at 94"]
        ids = [declare_new_log(database_url, CLUSTER) for _ in range(2)]
        assert ids == [f"{CLUSTER}.2", f"{CLUSTER}.3"]
        assert declare_first_log(database_url, CLUSTER) == ids[-1]
        assert halted_partitions(database_url) == []
        claims = await claim(conn, "historian", "test", ids[-1], [ONE], TOPIC_IDS)
        assert (claims[ONE].next_offset, claims[ONE].halted) == (0, None)
    assert declare_new_log(database_url, "another") == "another"
    assert is_log_of(ids[0], CLUSTER)
    assert not is_log_of("another", CLUSTER)
