"""Which Kafka log is the current one (D7): declared by the launcher or the administrator, read by
every consumer."""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow


def declare_log(url: str, log_id: str | UUID) -> None:
    """Say that from now on Kafka's records are those of `log_id`. Idempotent; blocking.

    A new log begins at offset 0 everywhere: consumers start over, gateways and relays send again
    what is not stored.

    Raises:
        psycopg.Error: the database does not take it.
    """
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute(
            "UPDATE platform.kafka_log SET current = false WHERE current AND log_id <> %s",
            (str(log_id),),
        )
        connection.execute(
            "INSERT INTO platform.kafka_log (log_id, declared_at, current) VALUES (%s, now(), "
            "true) "
            "ON CONFLICT (log_id) DO UPDATE SET current = true",
            (str(log_id),),
        )


def declare_new_log(url: str, cluster_id: str) -> str:
    """Declare what a Kafka cluster has from now on as a log that was never declared, and return its
    id: the cluster's own id, or with a number behind it where that was declared before (the cluster
    lost a part of its log and is still the same one). Blocking.

    Raises:
        psycopg.Error: the database does not take it.
    """
    with psycopg.connect(url, connect_timeout=5) as connection:
        known = {
            str(log_id) for (log_id,) in connection.execute("SELECT log_id FROM platform.kafka_log")
        }
    log_id, number = cluster_id, 1
    while log_id in known:
        number += 1
        log_id = f"{cluster_id}.{number}"
    declare_log(url, log_id)
    return log_id


def is_log_of(log_id: str, cluster_id: str) -> bool:
    """Whether a log was declared for this cluster. No cluster id has a full stop."""
    return log_id.partition(".")[0] == cluster_id


def halted_partitions(url: str) -> list[str]:
    """Return a sentence for each partition of the current log that a consumer has halted.
    Blocking.

    Raises:
        psycopg.Error: the database cannot be asked.
    """
    with psycopg.connect(url, connect_timeout=5) as connection:
        schemas = connection.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = 'kafka_offset' "
            "ORDER BY 1"
        ).fetchall()
        sentences = []
        for (schema,) in schemas:
            halted = connection.execute(
                sql.SQL(
                    "SELECT consumer, topic, partition, halted FROM {} AS o JOIN "
                    "platform.kafka_log AS l ON l.log_id = o.log_id AND l.current "
                    "WHERE halted IS NOT NULL ORDER BY 1, 2, 3"
                ).format(sql.Identifier(schema, "kafka_offset"))
            )
            sentences += [
                f"{consumer} has halted {topic}[{number}]: {reason}"
                for consumer, topic, number, reason in halted
            ]
    return sentences


def declare_first_log(url: str, log_id: str) -> str:
    """Declare a log unless one is declared already; return the one that is then the current one.
    For an installation's first start. Idempotent; blocking.

    Raises:
        psycopg.Error: the database does not take it.
    """
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute(
            "INSERT INTO platform.kafka_log (log_id, declared_at, current) SELECT %s, now(), true "
            "WHERE NOT EXISTS (SELECT FROM platform.kafka_log WHERE current) "
            "ON CONFLICT DO NOTHING",
            (log_id,),
        )
        found = connection.execute("SELECT log_id FROM platform.kafka_log WHERE current")
        current = found.fetchone()
        assert current is not None  # a log is current from the first declaration on
        return str(current[0])


async def current_log(conn: psycopg.AsyncConnection[TupleRow]) -> str | None:
    """Return the id of the log that is declared as current, None before the first declaration."""
    cursor = await conn.execute("SELECT log_id FROM platform.kafka_log WHERE current")
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
