"""A plant file with every field that there is, and what is asked of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from aurelian.model.plant import Plant
from aurelian.model.plant_base import PlantPart

WHOLE = """\
company:
  id: acme
  name: ACME Ltd
site: north
title: North works
time_zone: Europe/Oslo
sources:
  - id: plc
    kind: opcua
    url: opc.tcp://10.0.0.7:4840
    publishing_interval_ms: 250
    monitoring:
      sampling_interval_ms: 100
      queue_size: 10
      discard: oldest
      trigger: status_value
      deadband: 0.5
      heartbeat_s: 60
    good_status: [UncertainInitialValue, 0x40900000]
    event_time: source
    closed: false
    time_zone: UTC
    oldest: 2024-01-01
    user: eva
    password_file: /etc/aurelian/word
    redundant:
      - opc.tcp://10.0.0.8:4840
    redundancy: warm
    security:
      policy: Basic256Sha256
      mode: Sign
      trust: list
      waive: [validity]
    alarms:
      notifier: i=2253
      min_severity: 100
      events: conditions
      where: true
      fields: false
  - id: saw
    kind: opcua
    url: opc.tcp://10.0.0.9:4840
    user_certificate: /etc/aurelian/user.der
    user_key: /etc/aurelian/user.pem
    security:
      server_uri: urn:saw
      server_sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  - id: bus
    kind: mqtt
    url: mqtts://broker.example:8883
    user: eva
    password_env: BUS_WORD
    tls:
      ca_file: /etc/aurelian/ca.pem
      certificate: /etc/aurelian/own.pem
      key: /etc/aurelian/own.key
      server_name: broker
      alpn: [mqtt]
      waive: host_name
    topics:
      - topic: plant/{unit}/state
        payload: json
      - topic: scale/{unit}
        payload: raw
        layout:
          - name: weight
            type: float32
            offset: 0
            order: little
            scale: 0.1
            add: 2
          - name: full
            type: bool
            offset: 4
            bit: 3
      - topic: proto/{unit}
        payload: protobuf
        protobuf:
          descriptor_file: /etc/aurelian/plc.desc
          message: plant.v1.Reading
    share:
      group: gateways
      read_retained: true
    time_unit: ms
  - id: scales
    kind: mqtt
    url: mqtt://127.0.0.1
    topic: scales/{unit}
    payload: raw
    layout:
      - name: weight
        type: int16
        offset: 0
  - id: meters
    kind: mqtt
    url: mqtt://127.0.0.1
    topic: meters/{unit}
    payload: protobuf
    protobuf:
      descriptor_file: /etc/aurelian/meter.desc
      message: meter.v1.Reading
  - id: nodes
    kind: sparkplug
    url: mqtt://127.0.0.1
    group: Works
    edge_node: Press
    sparkplug:
      mode: primary
      strict: true
      host_id: aurelian
      reorder_s: 3
      legacy_state: true
      certificates: true
calendar:
  shifts:
    - name: night
      start: 22:00
      end: 24:00
      days: [mon, tue]
      breaks:
        - start: 23:00
          minutes: 10
  holidays:
    - 2026-12-24
areas:
  - name: hall
    title: Hall
    id: the-hall
    lines:
      - name: line-1
        title: Line 1
        id: the-line
        output: press
        constraint: press
        calendar:
          shifts: []
        products:
          - id: part
            ideal_cycle_s: 4.5
            unit: piece
        units:
          - name: press
            source: plc
            address: Press
            title: The press
            id: the-press
            alarm_nodes: ["ns=2;s=Press"]
            states: packml
            simulate:
              cycle_s: 5.2
            signals:
              - name: state
                address: ns=2;s=State
                role: state
                type: int64
                states:
                  1: running
                  2: down
                id: the-state
              - name: force
                address: ns=2;s=Force
                unit: kN
                scale: 0.5
                offset: 1
                range: [0, 100]
                closed: true
                stale_after_s: 60
                monitoring:
                  deadband_percent: 2
                limits:
                  low: 1
                  high: 90
                  deadband: 2
                  delay_s: 5
                  priority: high
                  action: Stop it.
              - name: good
                address: ns=2;s=Good
                role: good_count
                wraps_at: 65536
stop_reasons:
  - code: 7
    name: Bearing
    loss: breakdown
"""

Place = tuple[str | int, ...]


def parts_of(annotation: Any) -> Iterator[type[PlantPart]]:
    """The parts that a field's annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, PlantPart):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from parts_of(get_args(annotation)[0])
    else:
        for each in get_args(annotation):
            yield from parts_of(each)


def all_parts() -> list[type[PlantPart]]:
    """Every part of the model, the plant first."""
    found: list[type[PlantPart]] = [Plant]
    for part in found:
        for field in part.model_fields.values():
            found += [each for each in parts_of(field.annotation) if each not in found]
    return found


def places(content: object, place: Place = ()) -> Iterator[tuple[Place, object]]:
    """Every value of a document with its place."""
    yield place, content
    if isinstance(content, dict):
        for name, each in content.items():
            yield from places(each, (*place, name))
    elif isinstance(content, list):
        for number, each in enumerate(content):
            yield from places(each, (*place, number))


def part_at(place: Place) -> type[PlantPart] | None:
    """The part that stands at a place; None: no part does."""
    part: type[PlantPart] | None = Plant
    for name in place:
        if part is None:
            return None
        if isinstance(name, str):
            if name not in part.model_fields:
                return None
            part = next(parts_of(part.model_fields[name].annotation), None)
    return part
