"""What a plant file that can be read will still not do, and why; called by `aurelian check`.

A check may run on another machine than the gateway, or as another user, so what it does not find is
a warning and no mistake of the file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from aurelian.model.figures import missing_for_figures
from aurelian.model.mqtt_topics import overlap
from aurelian.model.opcua_model import BROKEN
from aurelian.model.plant import Line, Plant, Unit
from aurelian.model.source_model import SourceModel


def warnings_of(
    site: Plant, clear_hosts: Mapping[str, Collection[str]], home: Path
) -> Iterator[str]:
    """A sentence for each source that will not be connected from here, and for each line that will
    have no OEE.

    Args:
        clear_hosts: by protocol, `OPCUA` or `MQTT`: may be spoken to in the clear, as this machine
            may.
        home: state folder; gateways of `aurelian up` look for relative paths there.
    """
    for source in site.sources:
        protocol = "OPCUA" if source.kind == "opcua" else "MQTT"
        if reason := source.refused_in_clear(clear_hosts[protocol]):
            yield f"source {source.key} will not be connected: {reason}"
        for reason in missing_secrets(source, home):
            yield (
                f"source {source.key} will not be able to sign in: {reason}. Where its gateway "
                "runs on another machine or as another user, look there"
            )
        if source.security is not None and source.security.policy in BROKEN:
            yield (
                f"source {source.key}: the policy {source.security.policy} is broken, so that what "
                "is sent can be read and changed: let the server offer Basic256Sha256 or a newer "
                "one, and say `policy: best`"
            )
        yield from _same_nodes(site, source)
        yield from _topics(site, source, home)
        yield from _local_times(site, source)
    lines: dict[str, list[str]] = {}
    for line in site.lines():
        for sentence in _missing_figures(line):
            lines.setdefault(sentence, []).append(line.path)
    for sentence, paths in lines.items():
        more = f" and {len(paths) - 1} more of {site.path}" if len(paths) > 1 else ""
        yield f"line {paths[0]}{more}: {sentence}"


def _same_nodes(site: Plant, source: SourceModel) -> Iterator[str]:
    """A sentence for each node of an OPC UA server that several signals have: a copied line?"""
    if source.kind != "opcua":
        return
    named: dict[str, list[str]] = {}
    for unit in site.units():
        if unit.model.source == source.id:
            for signal, model in zip(unit.signals(), unit.model.signals, strict=True):
                if model.address:
                    named.setdefault(model.address, []).append(signal.path)
    for address, paths in named.items():
        if len(paths) > 1:
            more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
            yield (
                f"source {source.key}: the node {address} is that of {paths[0]} and {paths[1]}"
                f"{more}: each of them has its values. A copied line? Give each signal its own"
            )


def _topics(site: Plant, source: SourceModel, home: Path) -> Iterator[str]:
    """Sentences for topics of plain MQTT that two entries take, and for descriptors of payloads
    that are not here."""
    if not source.is_plain_mqtt:
        return
    filters = [each.filter for entry in source.subscriptions for each in entry.templates(site.path)]
    for one, other in combinations(filters, 2):
        if overlap(one, other):
            yield (
                f"source {source.key}: a topic may fit both {one} and {other}: some brokers then "
                "send its messages twice, and the first entry reads them. Narrow one of them down, "
                "or make two sources"
            )
    for entry in source.subscriptions:
        name = "" if entry.protobuf is None else entry.protobuf.descriptor_file
        if name and (reason := _unreadable(home / name)):
            yield (
                f"source {source.key}: {home / name} (`descriptor_file`) {reason}. Until its "
                "gateway has it, every payload is rejected with this reason, and kept"
            )


_MAY_BE_LOCAL = ("azure", "cbor", "cumulocity", "json", "tasmota", "zigbee2mqtt")
"""Payloads whose times may be texts without a zone."""


def _local_times(site: Plant, source: SourceModel) -> Iterator[str]:
    """A sentence where times without a zone may be read as UTC and are the site's."""
    if "time_zone" in source.model_fields_set or not source.is_plain_mqtt:
        return
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    if not any(each.astimezone(site.zone).utcoffset() for each in (winter, summer)):
        return
    payloads = [e.payload for e in source.subscriptions if e.payload in _MAY_BE_LOCAL]
    if payloads:
        yield (
            f"source {source.key}: times without a zone in payloads of {payloads[0]} are read as "
            f"UTC, and the site is in {site.time_zone}: say `time_zone: {site.time_zone}` at the "
            "source, or `time_zone: UTC` where it sends UTC or numbers"
        )


_FILES = ("password_file", "user_certificate", "user_key")
_FILES_OF_TLS = ("ca_file", "certificate", "key")


def missing_secrets(source: SourceModel, home: Path) -> Iterator[str]:
    """What a source signs in with and this process cannot read; none where all is there."""
    named = [(each, getattr(source, each)) for each in _FILES]
    if source.tls is not None:
        named += [(f"tls.{each}", getattr(source.tls, each)) for each in _FILES_OF_TLS]
    for field, name in named:
        if name and (reason := _unreadable(home / name)):
            yield f"{home / name} (`{field}`) {reason}" + (
                ""
                if Path(name).is_absolute()
                else "; a relative path is looked for where the gateway runs, in the state folder "
                "for `aurelian up`: better write all of it"
            )
    name = source.password_env
    if name and name not in os.environ:
        yield f"the environment variable {name} (`password_env`) is not set: set it for the gateway"


def _unreadable(file: Path) -> str:
    """Why a file cannot be read, and the next step; empty: it can. Does not open it: what is
    behind it may be read once only."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return "is not there: put it there, readable for the gateway's user"
        return f"cannot be looked at ({error.strerror}): let the gateway's user into its folder"
    if stat.S_ISDIR(mode):
        return "is a folder: name the file in it"
    if not os.access(file, os.R_OK):
        return "may not be read: let the gateway's user read it"
    return ""


def _missing_figures(line: Line) -> Iterator[str]:
    for each in missing_for_figures(
        has_shifts=bool(line.calendar.shifts),
        output=line.output.model.name,
        output_roles=_roles(line.output),
        constraint=line.constraint.model.name,
        constraint_roles=_roles(line.constraint),
    ):
        yield f"{each.what}; {each.write}"


def _roles(unit: Unit) -> frozenset[str]:
    return frozenset(signal.role for signal in unit.model.signals)
