-- Figures of a line's running shift from raw rows alone: for tests, beside and independent of
-- services/line_health. Given: the shift, its breaks, the signals; nothing that line_health wrote.
--
-- Rules, from services/line_health/README.md:
--   state      the newest state value of the constraint unit; 3, 6 and 16 (PackML) produce,
--              also by their names Starting, Execute, Completing
--   no data    from the last good value of any signal of the constraint unit, where the next comes
--              more than 30 s later (what was received over 30 s late vouches for nothing), or where the source was declared dead in between
--   PBT        the shift up to now without breaks
--   APT        the parts of it in which the constraint unit produces and has data
--   counts     of the output unit: rises; a fall to what can have been made since is a reset; a
--              small fall is a correction
--   OEE        APT/PBT * PRI*PQ/APT * GQ/PQ
WITH given AS (
    SELECT %(start)s::timestamptz AS start, %(until)s::timestamptz AS until
), planned AS (
    -- The shift without its breaks, as ranges.
    SELECT tstzmultirange(tstzrange(g.start, g.until)) - coalesce(
        (SELECT range_agg(tstzrange(b.start, b.stop))
         FROM unnest(%(break_starts)s::timestamptz[], %(break_ends)s::timestamptz[])
              AS b(start, stop)),
        '{}'::tstzmultirange) AS time
    FROM given g
), raw_number AS (
    SELECT s.id, least(n.time, n.gateway_time) AS at, n.sub, n.stored_time, n.value,
        n.gateway_time - n.time <= interval '30 seconds' AS seen
    FROM historian.sample_number n JOIN historian.signal s ON s.key = n.signal, given g
    WHERE n.status < 1073741824 AND n.time > g.start - interval '1 day' AND n.time <= g.until
      AND least(n.time, n.gateway_time) <= g.until
), raw_state AS (
    SELECT at, sub, stored_time, value FROM raw_number WHERE id = %(state)s
    UNION ALL
    SELECT least(t.time, t.gateway_time), t.sub, t.stored_time,
        CASE lower(t.value) WHEN 'starting' THEN 3 WHEN 'execute' THEN 6 WHEN 'completing' THEN 16
            ELSE 0 END
    FROM historian.sample_text t JOIN historian.signal s ON s.key = t.signal, given g
    WHERE s.id = %(state)s AND t.status < 1073741824 AND t.time > g.start - interval '1 day'
      AND t.time <= g.until AND least(t.time, t.gateway_time) <= g.until
), states AS (
    SELECT at, value, coalesce(lead(at) OVER (ORDER BY at, sub, stored_time), g.until) AS next
    FROM raw_state, given g
), produces AS (
    SELECT coalesce(range_agg(tstzrange(at, next)), '{}'::tstzmultirange) AS time
    FROM states WHERE value IN (3, 6, 16) AND next > at
), heard AS (
    SELECT at, coalesce(lead(at) OVER (ORDER BY at), g.until) AS next, g.until
    FROM (
        SELECT at FROM raw_number WHERE id = ANY(%(signals)s) AND seen
        UNION ALL
        SELECT least(t.time, t.gateway_time) FROM historian.sample_text t
        JOIN historian.signal s ON s.key = t.signal, given g
        WHERE s.id = ANY(%(signals)s) AND t.time > g.start - interval '1 day'
          AND t.time <= g.until AND t.gateway_time - t.time <= interval '30 seconds'
    ) each, given g
), silent AS (
    SELECT coalesce(range_agg(tstzrange(at, next)), '{}'::tstzmultirange) AS time
    FROM heard
    WHERE next - at > interval '30 seconds'
        OR EXISTS (SELECT FROM unnest(%(declared)s::timestamptz[]) AS cut
                   WHERE cut >= at AND cut < next AND next - at > interval '2 seconds')
), durations AS (
    SELECT
        (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0)
         FROM unnest(p.time) AS r) AS planned_busy_s,
        (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0)
         FROM unnest(p.time * (w.time - q.time)) AS r) AS production_s,
        (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0)
         FROM unnest(p.time * q.time) AS r) AS no_data_s
    FROM planned p, produces w, silent q
), totals AS (
    SELECT id, at, value, lag(value) OVER each AS before, lag(at) OVER each AS before_at
    FROM raw_number WHERE id IN (%(good)s, %(scrap)s)
    WINDOW each AS (PARTITION BY id ORDER BY at, sub, stored_time)
), steps AS (
    SELECT id, at, CASE
            WHEN value >= before THEN value - before
            WHEN value > 0 AND before - value <= greatest(1, before / 100) THEN value - before
            WHEN value <= 10 + 10 * extract(epoch FROM at - before_at) / %(cycle)s THEN value
            ELSE 0 END AS pieces
    FROM totals, given g WHERE before IS NOT NULL AND at >= g.start
), products AS (
    SELECT least(t.time, t.gateway_time) AS at, t.value,
        lead(least(t.time, t.gateway_time)) OVER (ORDER BY t.time, t.sub) AS next
    FROM historian.sample_text t JOIN historian.signal s ON s.key = t.signal
    WHERE s.id = %(product)s
), priced AS (
    SELECT steps.id, steps.pieces, steps.pieces * coalesce(c.cycle, %(cycle)s) AS ideal_s
    FROM steps
    LEFT JOIN products p ON p.at <= steps.at AND (p.next IS NULL OR p.next > steps.at)
    LEFT JOIN unnest(%(product_ids)s::text[], %(product_cycles)s::float8[]) AS c(id, cycle)
        ON c.id = p.value
), counts AS (
    SELECT coalesce(sum(pieces) FILTER (WHERE id = %(good)s), 0) AS good,
        coalesce(sum(pieces) FILTER (WHERE id = %(scrap)s), 0) AS scrap,
        coalesce(sum(ideal_s), 0) AS ideal_s
    FROM priced
)
SELECT planned_busy_s::float8, production_s::float8, no_data_s::float8, good::float8,
    scrap::float8, ideal_s::float8,
    (production_s / nullif(planned_busy_s, 0))::float8 AS availability,
    (ideal_s / nullif(production_s, 0))::float8 AS effectiveness,
    (good / nullif(good + scrap, 0))::float8 AS quality,
    (ideal_s / nullif(planned_busy_s, 0) * good / nullif(good + scrap, 0))::float8 AS oee
FROM durations, counts
