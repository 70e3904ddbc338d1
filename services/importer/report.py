"""What an import says: the plan before it, its progress, its end; as sentences or as JSON lines.
Called by command.py."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from aurelian.local.terminal import terminal
from aurelian.model.sample import Flag, Sample, raw_status
from aurelian.model.status_codes import status_name
from aurelian.model.time import now_us, to_datetime, to_iso
from importer.bad_lines import SHOWN, BadLine
from importer.bookmark import Totals
from importer.chunks import make_chunk
from importer.csv_rows import CsvFile
from importer.judging import Judge
from importer.local_times import LocalTimes
from importer.plan import Plan
from importer.processor import Progress
from importer.queries import LedgerSums

_ROWS = 3
_PREVIEW_BYTES = 2**14
_EVERY_S = 5.0
_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "bar"}


class Report:
    """Writes to standard output (JSON lines) or standard error (sentences)."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._began = self._said_at = time.monotonic()
        self._bad = 0
        self._last = ""

    def plan(self, plan: Plan) -> None:
        """Show what was detected, and the first rows as they will be stored."""
        rows = preview(plan)
        if self._as_json:
            self._json("detected", **described(plan), first_rows=rows)
            return
        for line in sentences(plan):
            self._say(line)
        self._say(f"first {len({row['time'] for row in rows})} rows as they will be stored:")
        for row in rows:
            status = "" if row["status"] == "Good" else f"  {row['status']}"
            flags = f"  ({', '.join(row['flags'])})" if row["flags"] else ""
            self._say(f"    {row['time']}  {row['signal']} = {row['value']}{status}{flags}")

    def note(self, sentence: str) -> None:
        """Say a sentence."""
        if self._as_json:
            self._json("note", text=sentence)
        else:
            self._say(sentence)

    def progress(self, progress: Progress) -> None:
        """Say how far it is: in one line of a terminal, else every 5 s."""
        totals = progress.totals
        share = min(1.0, progress.offset / progress.size) if progress.size else 1.0
        if not self._as_json and sys.stderr.isatty():
            text = self._progress_text(progress, share)
            sys.stderr.write(f"\r\x1b[K{text[:110]}")
            sys.stderr.flush()
            self._last = text
            return
        if time.monotonic() - self._said_at < _EVERY_S:
            return
        self._said_at = time.monotonic()
        if self._as_json:
            self._json(
                "progress",
                share=round(share, 4),
                rows=totals.rows,
                values=totals.values,
                bad_lines=totals.bad,
                records_waiting=progress.waiting,
                trouble=progress.trouble or None,
            )
        else:
            self._say(self._progress_text(progress, share))

    def bad(self, lines: Sequence[BadLine]) -> None:
        """Show the first bad lines."""
        for each in lines:
            self._bad += 1
            if self._bad > SHOWN:
                if self._bad == SHOWN + 1:
                    self.note("more bad lines are in the file alone")
                return
            if self._as_json:
                self._json("bad_line", line=each.line, reason=each.reason, text=each.text[:500])
            else:
                self._say(f"line {each.line}: {each.reason}")

    def summary(
        self, plan: Plan, totals: Totals, ledger: LedgerSums | None, bad_file: str, *, waited: bool
    ) -> None:
        """Say how it ended."""
        seconds = time.monotonic() - self._began
        first, last = (_time(each) if each else None for each in (totals.first, totals.last))
        if self._as_json:
            self._json(
                "summary",
                file=str(plan.table.path),
                source=plan.source,
                rows=totals.rows,
                values=totals.values,
                empty_cells=totals.empty,
                bad_lines=totals.bad,
                bad_file=bad_file if totals.bad else None,
                ambiguous_times=totals.open_times,
                first=first,
                last=last,
                stored=ledger.stored if ledger else None,
                duplicate=ledger.duplicate if ledger else None,
                rejected=ledger.rejected if ledger else None,
                waited=waited,
                seconds=round(seconds, 1),
            )
            return
        self._say(
            f"{totals.rows:,} rows read, {totals.values:,} values, {totals.empty:,} empty cells, "
            f"{totals.bad:,} bad lines, in {seconds:.1f} s"
        )
        if first:
            self._say(f"from {first} to {last}")
        if totals.open_times:
            self._say(
                f"{totals.open_times:,} rows lie in the hour that comes twice, and their order "
                "does not show which one: what fits best is taken, and they are flagged"
            )
        if totals.bad:
            self._say(f"bad lines: {bad_file}")
        if ledger is not None:
            self._say(
                f"ledger of this file: {ledger.stored:,} stored, {ledger.duplicate:,} were there "
                f"already, {ledger.rejected:,} rejected"
            )
        elif waited:
            self._say(f"all of it is stored; the ledger (source {plan.source}) counts duplicates")
        else:
            self._say("Kafka has all of it; the historian stores it from there")

    def _progress_text(self, progress: Progress, share: float) -> str:
        totals = progress.totals
        rate = totals.values / max(time.monotonic() - self._began, 0.001)
        text = f"{share:4.0%}  {totals.rows:,} rows  {totals.values:,} values  {rate:,.0f}/s"
        text += f"  {totals.bad:,} bad lines" if totals.bad else ""
        if progress.trouble:
            return f"{text}  {progress.trouble}"
        return f"{text}  {progress.waiting} records wait to be stored" if progress.waiting else text

    def _say(self, text: str) -> None:
        if self._last:
            sys.stderr.write("\n")
            self._last = ""
        terminal.print(escape(text))

    def _json(self, kind: str, **fields: Any) -> None:
        print(json.dumps({"kind": kind, **fields}, ensure_ascii=False, default=str), flush=True)


def described(plan: Plan) -> dict[str, Any]:
    """What was detected, JSON-ready."""
    table = plan.table
    titles = table.titles
    layout = table.layout if isinstance(table, CsvFile) else None
    return {
        "file": str(table.path),
        "format": table.kind,
        "encoding": table.encoding.name if isinstance(table, CsvFile) else None,
        "delimiter": layout.delimiter if layout else None,
        "header_line": layout.header_line if layout else None,
        "data_from_line": layout.first_line if layout else None,
        "shape": "wide" if plan.tag_column is None else "long",
        "time_columns": [titles[n] for n in plan.time_columns],
        "time_format": plan.time_format.name,
        "zone": str(plan.zone),
        "newest_first": plan.newest_first,
        "tag_column": None if plan.tag_column is None else titles[plan.tag_column],
        "columns": [
            {
                "title": value.title,
                "signal": value.target.signal.path if value.target else None,
                "discovered": value.target.signal.discovered if value.target else None,
                "decimal": value.marks.decimal,
                "quality": None if value.quality is None else titles[value.quality],
            }
            for value in plan.values
        ],
        "tags": {
            tag: None if target is None else target.signal.path for tag, target in plan.tags.items()
        },
        "quality": "OPC Classic" if plan.classic else "OPC UA",
        "skipped": list(plan.skipped),
        "notes": list(plan.notes),
        "source": plan.source,
    }


def sentences(plan: Plan) -> list[str]:
    """What was detected, for people."""
    found = described(plan)
    table = plan.table
    if isinstance(table, CsvFile):
        delimiter = _DELIMITERS.get(table.layout.delimiter, repr(table.layout.delimiter))
        out = [
            f"{table.path.name}: {found['encoding']}, cells separated by {delimiter}, header in "
            f"line {found['header_line']}, data from line {found['data_from_line']} on"
        ]
        commas = {value.marks.decimal for value in plan.values}
        if "," in commas:
            out.append("decimal mark: comma" + (" or point, by column" if len(commas) > 1 else ""))
        else:
            out.append("decimal mark: point")
    else:
        out = [f"{table.path.name}: Parquet, {table.size:,} rows"]
    zone = f"; times without a zone are those of {plan.zone}"
    order = ", newest first" if plan.newest_first else ""
    out.append(f"time: {' and '.join(found['time_columns'])} ({found['time_format']}{order}){zone}")
    if plan.tag_column is not None:
        out.append(f"one value a line: {plan.values[0].title!r} of the tag {found['tag_column']!r}")
        for tag, target in plan.tags.items():
            out.append(f"    {tag} -> {_target(target)}")
    for value in plan.values if plan.tag_column is None else ():
        quality = (
            f", quality in {table.titles[value.quality]!r}" if value.quality is not None else ""
        )
        out.append(f"    {value.title} -> {_target(value.target)}{quality}")
    if any(value.quality is not None for value in plan.values):
        out.append(f"quality: {found['quality']}")
    if plan.skipped:
        out.append(f"skipped: {', '.join(plan.skipped)}")
    return out + list(plan.notes)


def preview(plan: Plan) -> list[dict[str, Any]]:
    """The values of the first rows as they will be stored."""
    for table in plan.table.tables(plan.table.start(), plan.wanted, _PREVIEW_BYTES):
        clocks = LocalTimes(plan.zone, newest_first=plan.newest_first)
        chunk = make_chunk(table, plan, clocks, now_us())
        judged = Judge("preview", 0).judge(chunk.signals, now_us())
        samples = [sample for batch in judged.batches for sample in batch.samples()]
        times: list[int] = []
        for cells in chunk.signals:
            pairs = zip(cells.rows[:_ROWS].tolist(), cells.time[:_ROWS].tolist(), strict=True)
            times += [time for row, time in pairs if time not in times]
        shown = set(sorted(times, reverse=plan.newest_first)[:_ROWS])
        found = [_row(sample) for sample in samples if sample.time in shown]
        return sorted(found, key=lambda row: row["time"], reverse=plan.newest_first)[: 20 * _ROWS]
    return []


def _row(sample: Sample) -> dict[str, Any]:
    flags = [
        flag.name.lower().replace("_", " ")
        for flag in Flag
        if flag and flag in sample.flags and flag is not Flag.HISTORICAL and flag.name
    ]
    return {
        "time": _time(sample.time),
        "signal": sample.signal.path.rpartition("/")[2],
        "value": sample.value,
        "status": status_name(raw_status(sample.status, int(sample.flags))),
        "flags": flags,
    }


def _target(target: Any) -> str:
    if target is None:
        return "skipped"
    unit = f" [{target.signal.unit}]" if target.signal.unit else ""
    new = ", beyond the plant file" if target.signal.discovered else ""
    return f"{target.name}{unit}{new}"


def _time(us: int) -> str:
    return to_iso(to_datetime(us)) or ""
