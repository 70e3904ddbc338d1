"""Many rows in one statement: insert, or replace what has the same key. Called by folds in their
transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import AsyncConnection, sql


class Upsert:
    """Writes rows of one table. The statement takes a column as an array, so that its cost is of
    the rows and not of the round trips."""

    def __init__(
        self,
        schema: str,
        table: str,
        columns: Mapping[str, str],
        key: Sequence[str],
        replaced: Sequence[str] | None = None,
    ) -> None:
        """`columns`: name to PostgreSQL type, in the order of the rows' values, kept as `names`;
        `key`: those of the primary key; `replaced`: those that a later row with the same key
        changes, by default all others."""
        self.names = names = [*columns]
        if replaced is None:
            replaced = [name for name in names if name not in key]
        self._key = [names.index(name) for name in key]
        self._statement = sql.SQL(
            "INSERT INTO {table} AS old ({names}) SELECT * FROM unnest({arrays})"
            " ON CONFLICT ({key}) DO UPDATE SET {assignments}"
            " WHERE ROW({present}) IS DISTINCT FROM ROW({excluded})"
        ).format(
            table=sql.Identifier(schema, table),
            names=_list(names),
            arrays=sql.SQL(", ").join(
                sql.SQL("%s::{}[]").format(sql.SQL(kind)) for kind in columns.values()
            ),
            key=_list(key),
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in replaced
            ),
            present=_list(replaced, "old"),
            excluded=_list(replaced, "excluded"),
        )

    async def write(self, conn: AsyncConnection, rows: Sequence[Sequence[object]]) -> int:
        """Write rows in the open transaction, of those with one key the last; return how many are
        new or other than they were. Idempotent."""
        newest = {tuple(row[place] for place in self._key): row for row in rows}
        if not newest:
            return 0
        columns = [list(column) for column in zip(*newest.values(), strict=True)]
        return (await conn.execute(self._statement, columns)).rowcount


def _list(names: Sequence[str], table: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.Identifier(name) if table is None else sql.Identifier(table, name) for name in names
    )
