"""The samples: hypertables where TimescaleDB is, else native partitions of a week, made and dropped
by `maintain_samples`."""

from __future__ import annotations

from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

VALUES = {
    "sample_number": "value double precision",
    "sample_text": "value text",
    "sample_other": "integer numeric(20, 0), bytes bytea, json text",
}

COLUMNS = """
    signal integer NOT NULL,
    time timestamptz NOT NULL,
    sub integer NOT NULL,
    source_time timestamptz,
    server_time timestamptz,
    gateway_time timestamptz NOT NULL,
    stored_time timestamptz NOT NULL DEFAULT now(),
    status bigint NOT NULL,
    flags integer NOT NULL,
    type smallint NOT NULL,
    {values},
    PRIMARY KEY (signal, time, sub)
"""

# Runs as its owner, so that the historian's role need not own tables to make and drop partitions. A
# week is made as a table of its own, takes what the default partition holds of it, and is then
# attached.
MAINTAIN_PARTITIONS = """
CREATE FUNCTION historian.maintain_samples(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    changed integer := 0;
    parent text;
    child text;
    monday timestamptz;
    week timestamptz := date_trunc('week', now());
    oldest timestamptz := now() - make_interval(days => keep_days);
BEGIN
    FOREACH parent IN ARRAY ARRAY['sample_number', 'sample_text', 'sample_other'] LOOP
        FOR monday IN SELECT week + n * interval '168 hours' FROM generate_series(-2, 4) AS n LOOP
            child := parent || to_char(monday, '"_"IYYY"w"IW');
            CONTINUE WHEN to_regclass('historian.' || child) IS NOT NULL
                OR monday + interval '168 hours' <= oldest;
            EXECUTE format('CREATE TABLE historian.%I (LIKE historian.%I INCLUDING ALL)', child,
                parent);
            EXECUTE format(
                'WITH moved AS (DELETE FROM historian.%I WHERE time >= %L
                    AND time < %L RETURNING *) '
                'INSERT INTO historian.%I SELECT * FROM moved',
                parent || '_default', monday, monday + interval '168 hours', child);
            EXECUTE format(
                'ALTER TABLE historian.%I ATTACH PARTITION historian.%I FOR VALUES FROM (%L) TO
                    (%L)',
                parent, child, monday, monday + interval '168 hours');
            changed := changed + 1;
        END LOOP;
        FOR child IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = to_regclass('historian.' || parent)
                AND c.relname ~ '_[0-9]{4}w[0-9]{2}$'
        LOOP
            monday := to_timestamp(right(child, 7), 'IYYY"w"IW');
            CONTINUE WHEN monday + interval '168 hours' > oldest;
            EXECUTE format('DROP TABLE historian.%I', child);
            changed := changed + 1;
        END LOOP;
        -- An old recording that came in late stays as long as anything else: from when it was
        -- stored.
        EXECUTE format('DELETE FROM historian.%I WHERE time < %L
            AND stored_time < %L', parent || '_default', oldest, oldest);
    END LOOP;
    RETURN changed;
END $$
"""

# The policies of the hypertables do the work; the setting of the historian reaches them here.
MAINTAIN_HYPERTABLES = """
CREATE FUNCTION historian.maintain_samples(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    parent text;
    job record;
    changed integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['sample_number', 'sample_text', 'sample_other'] LOOP
        FOR job IN
            SELECT job_id, config FROM timescaledb_information.jobs
            WHERE proc_name = 'policy_retention' AND hypertable_schema = 'historian'
                AND hypertable_name = parent
        LOOP
            CONTINUE WHEN
                (job.config ->> 'drop_after')::interval = make_interval(days => keep_days);
            PERFORM alter_job(
                job.job_id, config => jsonb_set(job.config, '{drop_after}',
                    to_jsonb(keep_days || ' days')));
            changed := changed + 1;
        END LOOP;
    END LOOP;
    RETURN changed;
END $$
"""


# The Apache edition has no policies: old chunks are dropped here.
MAINTAIN_CHUNKS = """
CREATE FUNCTION historian.maintain_samples(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    parent text;
    changed integer := 0;
    dropped integer;
BEGIN
    FOREACH parent IN ARRAY ARRAY['sample_number', 'sample_text', 'sample_other'] LOOP
        SELECT count(*) INTO dropped FROM drop_chunks(
            format('historian.%I', parent)::regclass,
            older_than => make_interval(days => keep_days));
        changed := changed + dropped;
    END LOOP;
    RETURN changed;
END $$
"""


def upgrade() -> None:
    """Make the three sample tables in the form that this server can give them."""
    bind = op.get_bind()
    found = bind.exec_driver_sql(
        "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).first()
    if found and _make_extension():
        licence = bind.exec_driver_sql(
            "SELECT current_setting('timescaledb.license', true)"
        ).scalar()
        _make_hypertables(community=licence == "timescale")
    else:
        _make_partitions()
    op.execute("REVOKE ALL ON FUNCTION historian.maintain_samples(integer) FROM PUBLIC")
    op.execute(
        "GRANT EXECUTE ON FUNCTION historian.maintain_samples(integer) TO aurelian_historian"
    )
    op.execute("SELECT historian.maintain_samples(400)")


def _make_extension() -> bool:
    """Make the extension; False where the server lists it and cannot load it."""
    try:
        with op.get_bind().begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except DBAPIError:
        return False
    return True


def _make_hypertables(*, community: bool) -> None:
    """Make hypertables; compression and policies only where the edition has them (the Apache
    edition has the functions, which refuse)."""
    for table, values in VALUES.items():
        name = f"historian.{table}"
        op.execute(f"CREATE TABLE {name} ({COLUMNS.format(values=values)})")
        op.execute(
            f"SELECT create_hypertable('{name}', by_range('time', INTERVAL '1 day'), "
            f"create_default_indexes => false)"
        )
        if not community:
            continue
        op.execute(
            f"ALTER TABLE {name} SET (timescaledb.compress, timescaledb.compress_segmentby = "
            f"'signal', "
            "timescaledb.compress_orderby = 'time, sub')"
        )
        op.execute(f"SELECT add_compression_policy('{name}', INTERVAL '14 days')")
        op.execute(f"SELECT add_retention_policy('{name}', INTERVAL '400 days')")
    op.execute(MAINTAIN_HYPERTABLES if community else MAINTAIN_CHUNKS)


def _make_partitions() -> None:
    for table, values in VALUES.items():
        name = f"historian.{table}"
        op.execute(
            f"CREATE TABLE {name} ({COLUMNS.format(values=values)}) PARTITION BY RANGE (time)"
        )
        op.execute(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT")
    op.execute(MAINTAIN_PARTITIONS)
