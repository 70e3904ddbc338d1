"""The command `aurelian import`: history out of a file; called by the command line."""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from aurelian.edge.outbox.limits import OutboxFull
from aurelian.local.command_options import Home, home_folder, running_status
from aurelian.local.command_settings import command_settings
from aurelian.local.terminal import give_up, os_fix, os_reason
from aurelian.model.plant_file import PlantError, load_plants

import_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Many = list[str] | None


@import_app.command()
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV or Parquet file.")],
    asset: Annotated[
        str,
        typer.Option(
            "--as", help="The unit: company/site/area/line/unit, or an ending that only one has."
        ),
    ],
    maps: Annotated[
        Many, typer.Option("--map", metavar="COLUMN=SIGNAL", help="What a column, or a tag, is.")
    ] = None,
    skip: Annotated[
        Many, typer.Option("--skip", metavar="COLUMN", help="A column, or a tag, to leave out.")
    ] = None,
    discover: Annotated[
        bool, typer.Option("--discover", help="Import unknown columns as signals of their own.")
    ] = False,
    time_column: Annotated[
        Many, typer.Option("--time-column", help="Title of the times; twice: of date and clock.")
    ] = None,
    time_format: Annotated[
        str,
        typer.Option(
            "--time-format",
            help="dmy, mdy, iso, epoch_s, epoch_ms, epoch_us, epoch_ns, excel, or a pattern such "
            "as '%d.%m.%Y %H:%M:%S'.",
        ),
    ] = "",
    zone: Annotated[
        str, typer.Option(help="Of times without a zone.", show_default="the site's")
    ] = "",
    decimal: Annotated[str, typer.Option(help="Decimal mark: , or .")] = "",
    delimiter: Annotated[str, typer.Option(help="Between cells, say ';' or '\\t'.")] = "",
    encoding: Annotated[str, typer.Option(help="Of the characters, say cp1252.")] = "",
    tag_column: Annotated[
        str, typer.Option(help="One value a line: title of the column with the signals' names.")
    ] = "",
    value_column: Annotated[str, typer.Option(help="One value a line: title of the values.")] = "",
    quality_column: Annotated[str, typer.Option(help="Title of the quality of a line.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what was detected, send nothing.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="End when Kafka has it, not when it is stored.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Send it although it was imported before.")
    ] = False,
    bad_lines: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="List of bad lines.", show_default="FILE.bad.csv beside it"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on standard output.")
    ] = False,
    plant: Annotated[
        Path | None,
        typer.Option(
            envvar="AURELIAN_PLANT", help="Plant files.", show_default="those of the running stack"
        ),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_KAFKA_BOOTSTRAP", help="Kafka.", show_default="the running stack's"
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="AURELIAN_DATABASE_URL",
            help="Database, whose ledger the summary quotes.",
            show_default="the running stack's",
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Import history from a file: each value once, marked historical. Broken off, the same command
    goes on where it was."""
    _require_arrow()
    from importer.bad_lines import BadLinesFile
    from importer.plan import Options, make_plan
    from importer.processor import default_bad_file
    from importer.report import Report

    status = running_status(home) or {}
    settings = _settings(status, bootstrap, home)
    options = Options(
        asset,
        tuple(maps or ()),
        tuple(skip or ()),
        discover,
        tuple(time_column or ()),
        time_format,
        zone,
        decimal,
        delimiter,
        encoding,
        tag_column,
        value_column,
        quality_column,
    )
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        give_up(
            f"--encoding {encoding!r}: no encoding of this name is known", "cp1252, say", code=2
        )
    if decimal not in ("", ".", ","):
        give_up(f"--decimal {decimal!r} is neither , nor .", "--decimal ,", code=2)
    try:
        plants = load_plants(plant or Path(str(status.get("plant") or settings.plant)))
        plan = make_plan(file, options, plants)
    except PlantError as error:
        give_up(str(error), "name the folder with your plant files: --plant FOLDER", code=2)
    except ValueError as error:
        give_up(f"{file}: {error}" if "\n" not in str(error) else str(error), _NEXT, code=2)
    report = Report(as_json=as_json)
    report.plan(plan)
    if dry_run:
        return
    if not bootstrap and not status and "AURELIAN_KAFKA_BOOTSTRAP" not in os.environ:
        give_up(
            f"nothing runs on {home_folder(home)}",
            "aurelian up, or name another Kafka with --bootstrap HOST:PORT",
        )
    bad_file = BadLinesFile(bad_lines or default_bad_file(file))
    totals = _run(settings, plan, bad_file, report, wait=not no_wait, again=again)
    database = url or status.get("database_url")
    ledger = None
    if database and not no_wait:
        from importer.queries import read_ledger

        ledger = read_ledger(str(database), plan.source, plan.plant.owner)
    report.summary(plan, totals, ledger, str(bad_file.path), waited=not no_wait)


_NEXT = "the same command with what is missing; --dry-run shows what it would do, and sends nothing"


def _run(settings: Any, plan: Any, bad_file: Any, report: Any, *, wait: bool, again: bool) -> Any:
    from importer.processor import Listener, run_import

    _quiet()
    tell = Listener(report.note, report.progress, report.bad)
    try:
        return asyncio.run(run_import(settings, plan, bad_file, tell, wait=wait, again=again))
    except KeyboardInterrupt:
        report.note("stopped; the same command goes on where it was")
        raise typer.Exit(130) from None
    except OutboxFull as error:
        give_up(str(error), "does another import run? It must end first")
    except OSError as error:
        give_up(os_reason(error), os_fix(error))
    except BaseExceptionGroup as group:
        own, others = group.split(OSError)
        if own is None or others is not None:
            raise
        first = _first_of(own)
        give_up(os_reason(first), os_fix(first))


def _first_of(group: BaseExceptionGroup[OSError]) -> OSError:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _settings(status: dict[str, object], bootstrap: str | None, home: Path | None) -> Any:
    from importer.settings import ImporterSettings

    given: dict[str, Any] = {}
    address = bootstrap or status.get("kafka_bootstrap")
    if address:
        given["kafka_bootstrap"] = str(address)
    if "AURELIAN_STATE" not in os.environ:
        given["state"] = home_folder(home) / "state" / "importer"
    return command_settings(ImporterSettings, **given)


def _require_arrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        give_up("the package pyarrow is not installed", "pip install 'aurelian[importer]'")


def _quiet() -> None:
    """What is away is said in the progress; libraries repeat it twice a second."""
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
