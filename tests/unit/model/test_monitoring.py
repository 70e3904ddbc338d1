"""What a plant file says of how values are asked for, and what it may not say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.monitoring import Monitoring, monitoring_of
from aurelian.model.plant_file import load_plant
from aurelian.model.sample import Flag, Sample, Signal, ValueType, raw_status
from tests.unit.model.test_plant import GOOD, problem, write

PLC = ':4840"}'
TEMPERATURE = "                unit: Cel\n"
D, T, B = ValueType.DOUBLE, ValueType.TEXT, ValueType.BOOL


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("{deadband: 1, deadband_percent: 1}", "are two filters; a node has one"),
        ("{deadband: 1, trigger: status}", "`deadband` is of values, and `trigger: status` looks"),
        ("{deadband_percent: 1, trigger: status_value_timestamp}", "with it the trigger is"),
        ("{deadband_percent: 101}", "deadband_percent: "),
        ("{deadband: -1}", "deadband: "),
        ("{queue_size: 0}", "queue_size: "),
        ("{sampling_interval_ms: -5}", "-5 is no interval; say milliseconds, 0 for as fast"),
        ("{heartbeat_s: 0.2}", "a value is repeated every 1 s at most"),
        ("{discard: new}", "discard: "),
        ("{trigger: value}", "trigger: "),
        ("{dead_band: 1}", "did you mean 'deadband'"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_line(
    tmp_path: Path, said: str, says: str
) -> None:
    for old, new in (
        (PLC, f':4840", monitoring: {said}}}'),
        (TEMPERATURE, f"{TEMPERATURE}                monitoring: {said}\n"),
    ):
        message = problem(tmp_path, old, new)
        assert says in message and re.search(r"plant\.yaml:\d+: ", message), message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (PLC, ':4840", good_status: [UncertainLastUsable]}', "'UncertainLastUsableValue'"),
        (PLC, ':4840", good_status: [Good]}', "counts as good already"),
        (PLC, ':4840", good_status: [0x00000000]}', "counts as good already"),
        (PLC, ':4840", good_status: [0x40900481]}', "say 0x40900000"),
        (PLC, ':4840", good_status: [soso]}', "is no status code of a value"),
        (PLC, ':4840", event_time: receipt}', "event_time"),
        (PLC, ':4840", event_time: gateway, monitoring: {heartbeat_s: 5}}', "would be a new one"),
        (
            TEMPERATURE,
            f"{TEMPERATURE}                type: text\n"
            "                monitoring: {deadband: 1}\n",
            "a text has no `deadband`: a change of it has no size",
        ),
        (
            TEMPERATURE,
            f"{TEMPERATURE}                type: bool\n"
            "                monitoring: {deadband_percent: 1}\n",
            "a bool has no `deadband_percent`",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    message = problem(tmp_path, old, new)
    assert says in message and re.search(r"plant\.yaml:\d+: ", message), message


def test_only_opc_ua_is_asked_for_values(tmp_path: Path) -> None:
    mqtt = '{id: plc, kind: mqtt_json, url: "mqtt://127.0.0.1:1883", topic: "a/{unit}"'
    plc = '{id: plc, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}'
    for more in ("monitoring: {heartbeat_s: 5}", "good_status: [Bad]", "event_time: server"):
        name = more.partition(":")[0]
        assert f"`{name}` is there for kind opcua only" in problem(
            tmp_path, plc, f"{mqtt}, {more}}}"
        )
    text = GOOD.replace(TEMPERATURE, f"{TEMPERATURE}                monitoring: {{deadband: 1}}\n")
    assert load_plant(write(tmp_path, text))
    with pytest.raises(Exception, match="for signals of kind opcua only"):
        load_plant(write(tmp_path, text.replace(plc, f"{mqtt}}}")))


def test_codes_are_written_by_name_or_number(tmp_path: Path) -> None:
    given = '"0x80310000", 0x40910000, UncertainLastUsableValue'
    plant = load_plant(write(tmp_path, GOOD.replace(PLC, f':4840", good_status: [{given}]}}')))
    assert plant.sources[0].good_status == (0x80310000, 0x40910000, 0x40900000)
    one = GOOD.replace(PLC, ':4840", good_status: UncertainInitialValue}')
    assert load_plant(write(tmp_path, one)).sources[0].good_status == (0x40920000,)


@pytest.mark.parametrize(
    ("source", "signal", "kind", "filter"),
    [
        ({"deadband": 2}, {}, D, (None, 2, None)),
        ({"deadband": 2}, {}, T, (None, None, None)),
        ({"deadband": 2}, {}, B, (None, None, None)),
        ({"deadband": 2}, {"deadband": 0}, D, (None, 0, None)),
        ({"deadband": 2}, {"deadband_percent": 1}, D, (None, None, 1)),
        ({"deadband": 2}, {"trigger": "status"}, D, ("status", None, None)),
        ({"trigger": "status"}, {"deadband": 1}, D, (None, 1, None)),
        ({"trigger": "status"}, {"heartbeat_s": 9}, D, ("status", None, None)),
    ],
)
def test_a_signal_says_its_filter_as_a_whole(
    source: dict[str, object],
    signal: dict[str, object],
    kind: ValueType,
    filter: tuple[object, ...],
) -> None:
    found = monitoring_of(
        Monitoring.model_validate(source), Monitoring.model_validate(signal), kind
    )
    assert (found.trigger, found.deadband, found.deadband_percent) == filter


def test_other_fields_are_replaced_one_by_one() -> None:
    source = Monitoring(sampling_interval_ms=100, queue_size=9, discard="newest", heartbeat_s=60)
    found = monitoring_of(source, Monitoring(sampling_interval_ms=0, heartbeat_s=0), D)
    assert (found.sampling_interval_ms, found.queue_size, found.heartbeat_s) == (0, 9, 0)
    assert found.discard == "newest"


@given(st.integers(0, 2**32 - 1))
def test_a_code_whose_severity_is_kept_as_a_flag_is_found_again(status: int) -> None:
    severity = status & 0xC0000000
    flags = Flag(severity >> 20) | Flag.HEARTBEAT | Flag.AT_SERVER_TIME
    assert raw_status(status & ~0xC0000000, flags) == status
    assert raw_status(status, Flag.HEARTBEAT) == status


@pytest.mark.parametrize(
    ("flags", "time"),
    [
        (Flag.NONE, 1),
        (Flag.AT_SERVER_TIME, 2),
        (Flag.AT_GATEWAY_TIME, 3),
        (Flag.TIME_REPLACED, 3),
        (Flag.TIME_REPLACED | Flag.AT_SERVER_TIME, 3),
        (Flag.INITIAL | Flag.HEARTBEAT, 1),
    ],
)
def test_a_sample_counts_at_one_of_its_times(flags: Flag, time: int) -> None:
    signal = Signal("s", "a", "x/s/a/l/u/s", D)
    assert Sample(signal, 1.0, D, 1, 3, 2, 0, flags).time == time
