"""Check what the embedded stack needs and how the running one is; called by `aurelian doctor`.

Each check returns one finding; none changes anything. A finding that is not well says what to do.
"""

import asyncio
import enum
import os
import sys
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurelian.local import home, kafka_jars, mqtt
from aurelian.local.ports import LOOPBACK, accepts, is_free
from aurelian.local.status import get_json
from aurelian.local.supervisor import EXIT_SETTINGS

ENOUGH_FREE_MB = 2000
_USUAL_PORTS = {
    "page": 8080,
    "Kafka": 9092,
    "MQTT broker": 1883,
    "pilot OPC UA server": 4840,
}


class Verdict(enum.StrEnum):
    """How a finding is: well, to be looked at, or in the way."""

    WELL = "well"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check."""

    check: str
    verdict: Verdict
    text: str
    fix: str | None = None


async def examine(folder: Path) -> list[Finding]:
    """Run every check on the stack whose state folder is `folder`. Takes at most some seconds;
    changes nothing."""
    status = home.read_status(folder) if home.is_held(folder) else None
    findings = [check_python(), check_time_zones(), check_write_access(folder), check_disk(folder)]
    if status is None:
        findings += [*check_ports(), check_kafka_files(), check_mqtt_program(), _not_running()]
        return findings
    findings += [
        check_kafka(status),
        check_mqtt(status),
        await asyncio.to_thread(check_database, status),
        await asyncio.to_thread(check_features, status),
        *await asyncio.to_thread(check_plant, status),
        *await check_services(status),
        *await check_sources(status),
    ]
    return findings


def check_python() -> Finding:
    """Python 3.11 or newer."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", Verdict.WELL, f"Python {version}")


def check_time_zones() -> Finding:
    """Time zone data, without which no shift calendar works."""
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        return Finding(
            "time-zones",
            Verdict.FAULT,
            "no time zone data: shift calendars cannot be read",
            "pip install tzdata (or apt-get install tzdata)",
        )
    return Finding("time-zones", Verdict.WELL, "time zone data is there")


def check_write_access(folder: Path) -> Finding:
    """May we write in the state folder, or make it?"""
    nearest = _nearest_existing(folder)
    if not nearest.is_dir():
        return Finding(
            "write-access",
            Verdict.FAULT,
            f"{nearest} is not a folder",
            "set AURELIAN_HOME to a folder",
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            "write-access",
            Verdict.FAULT,
            f"no permission to write in {nearest}",
            f"set AURELIAN_HOME to a folder of your own, or: chown {os.geteuid()} {nearest}",
        )
    return Finding("write-access", Verdict.WELL, f"{folder} can be written")


def check_disk(folder: Path) -> Finding:
    """Is there room for the database?"""
    free_mb = home.free_mb(folder)
    text = f"{free_mb} MB free for {folder}"
    fix = "free some disk, or set AURELIAN_HOME to a folder on a larger one"
    if free_mb < home.LEAST_FREE_MB:
        return Finding("disk", Verdict.FAULT, f"{text}; {home.LEAST_FREE_MB} MB are needed", fix)
    if free_mb < ENOUGH_FREE_MB:
        return Finding("disk", Verdict.WARNING, f"{text}; that is soon used up", fix)
    return Finding("disk", Verdict.WELL, text)


def check_ports() -> Iterator[Finding]:
    """Are the usual ports free? The next free one is used otherwise, which clients have to be
    told."""
    for what, port in _USUAL_PORTS.items():
        if is_free(port):
            yield Finding("port", Verdict.WELL, f"port {port} ({what}) is free")
        else:
            text = f"port {port} ({what}) is in use; the next free one will be taken"
            yield Finding(
                "port",
                Verdict.WARNING,
                text,
                f"to keep {port}, end the program that 'ss -ltnp' shows for it",
            )


def check_kafka_files() -> Finding:
    """Is Apache Kafka here, as it was locked? Fetches nothing."""
    try:
        missing = kafka_jars.missing_jars(kafka_jars.default_cache())
    except kafka_jars.KafkaJarsError as error:
        return Finding("kafka-files", Verdict.FAULT, str(error), "see above")
    if missing:
        text = f"{len(missing)} files of Apache Kafka are fetched at the next start"
        return Finding("kafka-files", Verdict.WARNING, text, "be connected then: about 45 MB, once")
    return Finding("kafka-files", Verdict.WELL, "Apache Kafka's files are here and unchanged")


def check_mqtt_program() -> Finding:
    """Which MQTT broker will be started?"""
    found = mqtt.find_mosquitto()
    if found:
        return Finding("mqtt", Verdict.WELL, f"Mosquitto is installed ({found})")
    return Finding(
        "mqtt",
        Verdict.WARNING,
        "Mosquitto is not installed; Artemis stands in on Kafka's Java (12 MB are fetched once, "
        "100 MB of memory), and where that cannot be had amqtt, which refuses MQTT 5 and forgets "
        "what it has queued",
        "apt-get install mosquitto",
    )


def check_kafka(status: dict[str, Any]) -> Finding:
    """Does Kafka answer?"""
    address = str(status["kafka_bootstrap"])
    if _answers(address):
        return Finding("kafka", Verdict.WELL, f"Kafka answers at {address}")
    text = f"Kafka does not answer at {address}"
    return Finding("kafka", Verdict.FAULT, text, _restart_fix("kafka"))


def check_mqtt(status: dict[str, Any]) -> Finding:
    """Does the MQTT broker answer?"""
    address = str(status["mqtt_url"]).removeprefix("mqtt://")
    if _answers(address):
        return Finding("mqtt", Verdict.WELL, f"the MQTT broker answers at {address}")
    return Finding(
        "mqtt", Verdict.FAULT, f"the MQTT broker does not answer at {address}", _restart_fix("mqtt")
    )


def check_plant(status: dict[str, Any]) -> list[Finding]:
    """Can the plant model of the running stack be read as it is now? Gateways follow it, and go on
    with the one before where they cannot."""
    from aurelian.model.plant_file import PlantError, load_plants, plant_files

    if "plant" not in status:
        return []
    folder = Path(status["plant"])
    try:
        if not plant_files(folder):
            own = status.get("own_plant", folder)
            said = f"no plant-model file is in {own} yet"
            return [Finding("plant", Verdict.WARNING, said, "write one, as the README shows")]
        load_plants(folder)
    except PlantError as error:
        fix = f"aurelian check {folder}"
        return [Finding("plant", Verdict.FAULT, f"the plant model is unusable: {error}", fix)]
    return [Finding("plant", Verdict.WELL, f"the plant model {folder} can be read")]


def check_features(status: dict[str, Any]) -> Finding:
    """Has the database what keeps samples small: compression and retention of its own?"""
    import psycopg

    try:
        with psycopg.connect(str(status["database_url"]), connect_timeout=5) as connection:
            extension = connection.execute(
                "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
            ).fetchone()
            licence = connection.execute(
                "SELECT current_setting('timescaledb.license', true)"
            ).fetchone()
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        text = f"the database cannot be asked for its features: {reason}"
        return Finding("features", Verdict.WARNING, text, _restart_fix("postgres"))
    if extension is None:
        return Finding(
            "features",
            Verdict.WELL,
            "PostgreSQL without TimescaleDB: partitions of a week, nothing is compressed",
        )
    if licence is None or licence[0] != "timescale":
        return Finding(
            "features",
            Verdict.WARNING,
            f"TimescaleDB {extension[0]}, edition {licence[0] if licence else 'unknown'}: without "
            "compression; samples take about ten times the disk",
            "nothing has to be done; the community edition compresses",
        )
    return Finding("features", Verdict.WELL, f"TimescaleDB {extension[0]} compresses old samples")


def check_database(status: dict[str, Any]) -> Finding:
    """Does the database answer, and is its schema the one of this version?"""
    import psycopg
    from alembic.script import ScriptDirectory

    from aurelian.db.migrate import make_config

    try:
        with psycopg.connect(str(status["database_url"]), connect_timeout=5) as connection:
            found = connection.execute("SELECT version_num FROM public.alembic_version").fetchone()
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        text = f"the database does not answer: {reason}"
        return Finding("database", Verdict.FAULT, text, _restart_fix("postgres"))
    except psycopg.errors.UndefinedTable:
        found = None
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        text = f"the database answers with an error: {reason}"
        return Finding("database", Verdict.FAULT, text, "aurelian db upgrade, as its owner")
    head = ScriptDirectory.from_config(make_config()).get_current_head()
    if found is None or found[0] != head:
        text = (
            f"the database schema is at {found[0] if found else 'nothing'}, this version needs "
            f"{head}"
        )
        return Finding("database", Verdict.FAULT, text, "aurelian db upgrade")
    return Finding(
        "database", Verdict.WELL, f"the database answers, its schema is up to date ({head})"
    )


async def check_services(status: dict[str, Any]) -> list[Finding]:
    """Is each service of the running stack ready?"""
    findings = []
    for name, service in status["services"].items():
        if not service["ops_url"]:
            continue
        port = int(service["ops_url"].rpartition(":")[2])
        reason = str(service.get("reason") or "")
        if service["pid"] is None:
            text = f"{name} is not running ({service['state']})"
            text += f", it {reason}" if reason else ""
            findings.append(Finding("service", Verdict.FAULT, text, _end_fix(name, reason)))
            continue
        answer = await get_json(port, "/readyz", accepted=(200, 503))
        if answer is None and reason:
            text = f"{name} does not stay up, it {reason}"
            findings.append(Finding("service", Verdict.FAULT, text, _end_fix(name, reason)))
        elif answer is None or not answer.get("ready"):
            said, _, step = str((answer or {}).get("waiting_for", "")).partition(". ")
            text = f"{name} runs and is not ready{f': {said}' if said else ''}"
            fix = step or f"ask it again: curl {service['ops_url']}/readyz"
            if answer is None:
                fix = _restart_fix(name)
            findings.append(Finding("service", Verdict.WARNING, text, fix))
        else:
            findings.append(Finding("service", Verdict.WELL, f"{name} is ready"))
    return findings


async def check_sources(status: dict[str, Any]) -> list[Finding]:
    """Is each machine, server or broker of the gateways of the running stack live?"""
    findings = []
    for service in status["services"].values():
        if not service["ops_url"] or service["pid"] is None:
            continue
        answer = await get_json(int(service["ops_url"].rpartition(":")[2]), "/sources")
        taken_back = (answer or {}).get("plant", {}).get("taken_back", {})
        for source, cause in taken_back.items():
            fix = "correct the source in the plant file"
            findings.append(Finding("plant", Verdict.FAULT, f"{source}: {cause}", fix))
        for each in (answer or {}).get("outbox", {}).get("newer_files", ()):
            findings.append(Finding("outbox", Verdict.WARNING, each["cause"], each["step"]))
        for each in (answer or {}).get("sources", ()):
            text = f"{each['source']} is {each['state']}"
            if not each["reason"]:
                findings.append(Finding("source", Verdict.WELL, text))
            else:
                cause = each.get("cause") or each["reason"]
                fix = each.get("step") or "nothing, it is tried again by itself"
                findings.append(Finding("source", Verdict.WARNING, f"{text}: {cause}", fix))
    return findings


def _not_running() -> Finding:
    return Finding("stack", Verdict.WARNING, "nothing runs on this state folder", "aurelian up")


def _end_fix(name: str, reason: str) -> str:
    if f"exit code {EXIT_SETTINGS} " in reason:
        return "mend what it says; it is started again by itself"
    return _restart_fix(name)


def _restart_fix(name: str) -> str:
    return f"read the end of log/{name}.log in the state folder; then: aurelian down, aurelian up"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return accepts(int(port), host or LOOPBACK)


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
