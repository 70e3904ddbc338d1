"""What signals may be: by standards, units, names in six languages, and how their values behave."""

from __future__ import annotations

from itertools import accumulate

import pytest

from aurelian.edge.proposals.proposal import Found, Proposal, Standard, Sureness, propose, settle
from aurelian.edge.proposals.state_words import (
    Answer,
    learn,
    question_for,
    state_of_words,
    vocabularies_like,
)
from aurelian.edge.proposals.units_of_measure import ucum_of
from aurelian.edge.proposals.value_shapes import Shape, shape_of
from aurelian.model.plant_parts import LineState, Role
from aurelian.model.sample import ValueType

NAMES = [
    # English
    ("Press/GoodCount", Role.GOOD_COUNT),
    ("Press/good_parts_total", Role.GOOD_COUNT),
    ("Press/PartsOK", Role.GOOD_COUNT),
    ("Press/ScrapCount", Role.SCRAP_COUNT),
    ("Press/NOK_Parts", Role.SCRAP_COUNT),
    ("Press/ProdDefectiveCount", Role.SCRAP_COUNT),
    ("Press/LastCycleTime", Role.CYCLE_TIME),
    ("Press/MachineState", Role.STATE),
    ("Press/StateCurrent", Role.STATE),
    ("Press/ActivePower", Role.POWER),
    ("Press/Power_kW", Role.POWER),
    ("Press/EnergyTotal", Role.ENERGY),
    ("Press/OilTemperature", Role.TEMPERATURE),
    ("Press/Temp1", Role.TEMPERATURE),
    ("Press/CurrentTemperature", Role.TEMPERATURE),
    ("Press/SpindleVibration", Role.VIBRATION),
    ("Press/MotorCurrent", Role.CURRENT),
    ("Press/HydraulicPressure", Role.PRESSURE),
    ("Press/StopReason", Role.STOP_REASON),
    ("Press/WorkOrder", Role.ORDER),
    ("Press/PartNumber", Role.PRODUCT),
    ("Press/BufferLevel", Role.BUFFER),
    ("Press/Temperature/Value", Role.TEMPERATURE),
    ("Press/Good/Count", Role.GOOD_COUNT),
    ("Press/CurrentState", Role.STATE),
    ("Press/Temperature/AnalogSignal", Role.TEMPERATURE),
    ("Press/Fault_Code", Role.STOP_REASON),
    # German
    ("Presse/Gutteile", Role.GOOD_COUNT),
    ("Presse/Gutteilezähler", Role.GOOD_COUNT),
    ("Presse/GutTeile_Zaehler", Role.GOOD_COUNT),
    ("Presse/Ausschuss", Role.SCRAP_COUNT),
    ("Presse/AnzahlAusschuß", Role.SCRAP_COUNT),
    ("Presse/Zykluszeit", Role.CYCLE_TIME),
    ("Presse/Maschinenzustand", Role.STATE),
    ("Presse/Wirkleistung", Role.POWER),
    ("Presse/Energieverbrauch", Role.ENERGY),
    ("Presse/Öltemperatur", Role.TEMPERATURE),
    ("Presse/Oeltemperatur", Role.TEMPERATURE),
    ("Presse/Lagerschwingung", Role.VIBRATION),
    ("Presse/Motorstrom", Role.CURRENT),
    ("Presse/Hydraulikdruck", Role.PRESSURE),
    ("Presse/Störgrund", Role.STOP_REASON),
    ("Presse/Auftragsnummer", Role.ORDER),
    ("Presse/Artikelnummer", Role.PRODUCT),
    ("Presse/Ofen/Temperatur/Istwert", Role.TEMPERATURE),
    # Norwegian
    ("Presse/Godkjente", Role.GOOD_COUNT),
    ("Presse/AntallGodkjente", Role.GOOD_COUNT),
    ("Presse/Vrak", Role.SCRAP_COUNT),
    ("Presse/Syklustid", Role.CYCLE_TIME),
    ("Presse/Driftstilstand", Role.STATE),
    ("Presse/AktivEffekt", Role.POWER),
    ("Presse/Energiforbruk", Role.ENERGY),
    ("Presse/Oljetemperatur", Role.TEMPERATURE),
    ("Presse/Vibrasjon", Role.VIBRATION),
    ("Presse/Motorstrøm", Role.CURRENT),
    ("Presse/Oljetrykk", Role.PRESSURE),
    ("Presse/Stoppårsak", Role.STOP_REASON),
    ("Presse/Ordrenummer", Role.ORDER),
    ("Presse/Varenummer", Role.PRODUCT),
    # Swedish
    ("Press/Godkända", Role.GOOD_COUNT),
    ("Press/Kasserade", Role.SCRAP_COUNT),
    ("Press/Cykeltid", Role.CYCLE_TIME),
    ("Press/Driftläge", Role.STATE),
    ("Press/Oljetryck", Role.PRESSURE),
    ("Press/Stopporsak", Role.STOP_REASON),
    ("Press/Elförbrukning", Role.ENERGY),
    # Danish
    ("Presse/Godkendte", Role.GOOD_COUNT),
    ("Presse/Kasserede", Role.SCRAP_COUNT),
    ("Presse/Cyklustid", Role.CYCLE_TIME),
    ("Presse/Stopårsag", Role.STOP_REASON),
    ("Presse/Olietryk", Role.PRESSURE),
    ("Presse/Mellemlager", Role.BUFFER),
    # Finnish
    ("Puristin/Hyväksytyt", Role.GOOD_COUNT),
    ("Puristin/Hylätyt", Role.SCRAP_COUNT),
    ("Puristin/Jaksoaika", Role.CYCLE_TIME),
    ("Puristin/KoneenTila", Role.STATE),
    ("Puristin/Pätöteho", Role.POWER),
    ("Puristin/Energiankulutus", Role.ENERGY),
    ("Puristin/Öljynlämpötila", Role.TEMPERATURE),
    ("Puristin/Värähtely", Role.VIBRATION),
    ("Puristin/Moottorivirta", Role.CURRENT),
    ("Puristin/Öljynpaine", Role.PRESSURE),
    ("Puristin/Seisokkisyy", Role.STOP_REASON),
    ("Puristin/Tuotenumero", Role.PRODUCT),
    # What only sounds like one
    ("Press/TemperatureSetpoint", Role.OTHER),
    ("Presse/Solltemperatur", Role.OTHER),
    ("Puristin/Asetuslämpötila", Role.OTHER),
    ("Press/TempHighLimit", Role.OTHER),
    ("Press/MaxPower", Role.OTHER),
    ("Press/PressureAlarm", Role.OTHER),
    ("Presse/Volumenstrom", Role.OTHER),
    ("Press/Heartbeat", Role.OTHER),
    ("Press/OperatingHours", Role.OTHER),
    ("Presse/Temperaturregler", Role.OTHER),
    ("Press/FirmwareVersion", Role.OTHER),
    ("Press/Speed", Role.OTHER),
    ("Press/x", Role.OTHER),
]


@pytest.mark.parametrize(("path", "role"), NAMES)
def test_a_name_says_a_role(path: str, role: Role) -> None:
    found = propose(Found(tuple(path.split("/"))))
    assert found.role is role, found


def of(name: str, **known: object) -> Proposal:
    return propose(Found(("Press", name), **known))  # type: ignore[arg-type]


def test_a_standard_counts_more_than_name_unit_and_values() -> None:
    standard = Standard("PackML (OPC 30050)", Role.STATE, "packml")
    found = of("Temperature", unit="Cel", values=[6, 2, 6], standard=standard)
    assert (found.role, found.states, found.sureness) == (Role.STATE, "packml", Sureness.CERTAIN)
    assert found.why[0] == "PackML (OPC 30050) says so"
    assert found.question is None


@pytest.mark.parametrize(
    ("name", "known", "role", "sureness", "why"),
    [
        # The unit leaves one possibility
        ("x7", {"unit": "kW"}, Role.POWER, Sureness.GUESS, "kW is a unit of it"),
        ("x7", {"unit_text": "°C"}, Role.TEMPERATURE, Sureness.GUESS, "Cel is a unit of it"),
        ("Leistung", {"unit_text": "kW"}, Role.POWER, Sureness.LIKELY, "kW is a unit of it"),
        # It contradicts the name: what is measured counts
        ("Leistung", {"unit_text": "kWh"}, Role.ENERGY, Sureness.GUESS, "kW.h is a unit of it"),
        ("Cycle time", {"unit": "Cel"}, Role.TEMPERATURE, Sureness.GUESS, "Cel is a unit of it"),
        ("Vibration", {"unit": "kg"}, Role.OTHER, Sureness.GUESS, "kg is no unit of that"),
        # Types
        ("Temperature", {"type": ValueType.BOOL}, Role.OTHER, Sureness.GUESS, "only on or off"),
        ("Pressure", {"type": ValueType.TEXT}, Role.OTHER, Sureness.GUESS, "are texts"),
        ("GoodCount", {"type": ValueType.JSON}, Role.OTHER, Sureness.GUESS, "no single numbers"),
        # Values agree, or take it back
        ("Parts", {"values": [5, 6, 6, 8, 9]}, Role.GOOD_COUNT, Sureness.LIKELY, "only rose"),
        ("GoodCount", {"values": [5, 3, 8, 1, 9]}, Role.OTHER, Sureness.GUESS, "fall too"),
        ("Parts", {"values": [1.5, 2.5, 3.25, 4.5]}, Role.OTHER, Sureness.GUESS, "fractions"),
        ("Status", {"values": [2, 3, 2, 3, 6]}, Role.STATE, Sureness.LIKELY, "to and fro"),
        ("Status", {"values": [*range(0, 40)]}, Role.OTHER, Sureness.GUESS, "too many"),
        ("x7", {"values": [10, 11, 12, 14]}, Role.GOOD_COUNT, Sureness.GUESS, "counts pieces"),
        ("x7", {"values": [1, 3, 1, 3, 1]}, Role.STATE, Sureness.GUESS, "perhaps it is a state"),
        ("Energy", {"values": [1.5, 1.7, 1.8, 2.0]}, Role.ENERGY, Sureness.LIKELY, "meter"),
        ("x7", {"values": [1.5, 1.1, 1.8, 2.0]}, Role.OTHER, Sureness.GUESS, ""),
    ],
)
def test_unit_type_and_values_agree_or_take_it_back(
    name: str, known: dict[str, object], role: Role, sureness: Sureness, why: str
) -> None:
    found = of(name, **known)
    assert (found.role, found.sureness) == (role, sureness), found
    assert why in "; ".join(found.why)


def test_a_sign_of_life_is_no_count_of_pieces() -> None:
    beats = list(range(20))
    found = of("Counter7", values=beats, times=[0.5 * n for n in beats])
    assert found.role is Role.OTHER
    assert "a sign of life" in found.why[0]
    # Parts come by the second too, but not as a clock does.
    pauses = [3.1, 2.7, 4.0, 3.3, 2.9, 3.6, 3.0, 3.9]
    parts = of("Counter7", values=list(range(8)), times=list(accumulate(pauses)))
    assert parts.role is Role.GOOD_COUNT


@pytest.mark.parametrize("name", ["Stückzahl", "antal", "Part Count", "Produced_Count", "Pieces"])
def test_a_count_is_the_same_however_long_and_when_it_was_watched(name: str) -> None:
    for values, said in (
        ([852], "did not change"),
        ([852, 852.0], "did not change"),
        ([852, 853], "by 1 in 4 s"),
        ([852, 853, 854], "by 2 in 8 s"),
        ([*range(852, 870)], "by 17 in 68 s"),
    ):
        found = of(name, values=values, times=[4.0 * n for n in range(len(values))])
        assert (found.role, found.sureness) == (Role.GOOD_COUNT, Sureness.LIKELY), values
        assert said in found.why[-1]
        assert "bad pieces too" in found.why[0]
    # A machine with a cycle of a second is no sign of life, where its name says what it counts.
    beat = of(name, values=[*range(9)], times=[float(n) for n in range(9)])
    assert (beat.role, beat.sureness) == (Role.GOOD_COUNT, Sureness.LIKELY)
    for values in ([5.5], [5.5, 5.5], [9, 8, 9, 8], [1.5, 1.6, 1.7, 1.8]):
        assert not of(name, values=values).is_written, values
    assert of(name, values=[5, 5], type=ValueType.TEXT).role is Role.OTHER


@pytest.mark.parametrize("name", ["Counter", "Zähler1", "count", "Anzahl"])
def test_a_name_that_says_that_it_counts_and_not_what_is_a_guess(name: str) -> None:
    for values in ([852], [852, 853], [852, 853, 854]):
        found = of(name, values=values)
        assert (found.role, found.sureness) == (Role.GOOD_COUNT, Sureness.GUESS), values
        assert "says that it counts, and not what" in found.why[0]
    for other in ("Alarm Counter", "Boot Count", "Hub_Zähler"):
        assert of(other, values=[852]).role is Role.OTHER
    assert of(name, values=[1.5]).role is Role.OTHER


def test_of_two_counts_as_sure_the_clear_name_stays() -> None:
    values = {"values": [852, 853]}
    settled = settle({"Stückzahl": of("Stückzahl", **values), "Gut": of("Gutteile", **values)})
    assert {name: each.role for name, each in settled.items()} == {
        "Stückzahl": Role.OTHER,
        "Gut": Role.GOOD_COUNT,
    }


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("°C", "Cel"), ("℃", "Cel"), ("deg C", "Cel"), ("kW", "kW"), ("KW", "kW"), ("kWh", "kW.h"),
        ("MW", "MW"), ("mW", "mW"), ("Mw", ""), ("bar", "bar"), ("[bar]", "bar"),
        ("1/min", "{rev}/min"), ("U/min", "{rev}/min"),
        ("l/min", "L/min"), ("Stück", "{piece}"), ("kpl", "{piece}"),
        ("mm/s", "mm/s"), ("m/s²", "m/s2"), ("%", "%"), ("µm", "um"), ("μm", "um"), ("Nm", "N.m"),
        ("Cel", "Cel"), ("[degF]", "[degF]"), ("furlong", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_unit_as_machines_write_it_becomes_ucum(text: str, unit: str) -> None:
    assert ucum_of(text) == unit


def test_a_unit_that_is_not_known_is_said_and_one_is_guessed_from_the_values() -> None:
    found = of("Temperature", unit_text="Furlong")
    assert (found.unit, found.role) == ("", Role.TEMPERATURE)
    assert "its unit 'Furlong' is not known here" in found.why[-1]
    assert of("Power_kW").unit == "kW"
    assert of("Power", values=[3.2, 7.5]).unit == "kW"
    guessed = of("Power", values=[3200.0, 7500.0])
    assert guessed.unit == "W"
    assert "guess" in guessed.why[-1]
    assert of("Power").unit == ""


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([], Shape.UNKNOWN),
        ([None, None], Shape.UNKNOWN),
        ([3, 3, 3], Shape.STILL),
        ([True, False], Shape.SWITCH),
        ([1, 2, 3], Shape.COUNTER),
        ([65534, 65535, 0, 1, 2, 3, 4, 5, 6, 7, 8], Shape.COUNTER),
        ([5, 4, 5, 4, 5], Shape.FEW),
        ([1.5, 2.0, 2.5, 3.5], Shape.TOTAL),
        ([1.5, 1.2, 1.9], Shape.MANY),
        (["Run", "Stop", "Run"], Shape.WORDS),
        ([f"2026-11-28 15:49:{n}" for n in range(30, 40)], Shape.MANY),
        (["2026-11-28", "2026-11-29", "2026-11-28"], Shape.MANY),
        (["A-17", "A-18", "A-19"], Shape.MANY),
        ([48, 48, 49], Shape.ROSE),
        ([float("nan"), 1.0], Shape.UNKNOWN),
        ([1, "a"], Shape.UNKNOWN),
        ([1, 70000, 2, 70000, 1], Shape.MANY),
    ],
)
def test_values_have_a_shape(values: list[object], shape: Shape) -> None:
    assert shape_of(values) is shape


def test_of_a_role_that_a_unit_has_once_the_surest_stays() -> None:
    settled = settle(
        {
            "Parts": of("Parts"),
            "GoodCount": of("GoodCount", values=[1, 2, 3]),
            "Total": of("Part Count"),
            "OilTemp": of("OilTemp"),
            "AirTemp": of("AirTemp"),
        }
    )
    assert {name: each.role for name, each in settled.items()} == {
        "Parts": Role.OTHER,
        "GoodCount": Role.GOOD_COUNT,
        "Total": Role.OTHER,
        "OilTemp": Role.TEMPERATURE,
        "AirTemp": Role.TEMPERATURE,
    }
    assert "which GoodCount is taken for" in settled["Parts"].why[-1]


def test_a_state_of_no_vocabulary_asks_once_what_the_machine_is_doing() -> None:
    found = of("MachineState", values=[2, 3])
    assert (found.role, found.states) == (Role.STATE, None)
    assert found.question is not None
    assert found.question.text == "MachineState is 3 now: what is the machine doing?"
    assert {state for state, _ in found.question.answers} >= {LineState.RUNNING, LineState.DOWN}
    learned = learn([Answer(3, LineState.RUNNING, 5)])
    assert learned.states == {"3": LineState.RUNNING}
    assert question_for("MachineState", 3, learned.states) is None
    assert question_for("MachineState", 2, learned.states) is not None
    assert question_for("MachineState", 1.5, None) is None


def test_answers_are_put_together_over_time_and_the_newer_counts() -> None:
    first = learn([Answer(3, LineState.RUNNING, 5), Answer(10, LineState.SETUP, 6)])
    assert isinstance(first.states, dict)
    again = learn(
        [
            Answer("3", LineState.DOWN, 20),
            Answer(4, LineState.DOWN, 9),
            Answer(3, LineState.SLOW, 7),
        ],
        first.states,
    )
    assert again.states == {"3": LineState.DOWN, "4": LineState.DOWN, "10": LineState.SETUP}
    assert list(again.states) == ["3", "4", "10"]
    assert again.doubts == (
        "3 was running and is slow by the newer answer",
        "3 was slow and is down by the newer answer",
    )
    # In whatever order they come.
    assert learn([Answer(3, LineState.DOWN, 20), Answer(3, LineState.SLOW, 7)]).states == {
        "3": LineState.DOWN
    }


def test_answers_that_are_those_of_a_vocabulary_name_it() -> None:
    known = {"6": LineState.RUNNING, "11": LineState.SHORT_STOP, "9": LineState.DOWN}
    assert vocabularies_like(known) == ["packml"]
    assert vocabularies_like({"6": LineState.RUNNING}) == []
    assert vocabularies_like({**known, "2": LineState.RUNNING}) == []


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("Running", LineState.RUNNING),
        ("Läuft", LineState.RUNNING),
        ("Störung", LineState.DOWN),
        ("Rüsten", LineState.SETUP),
        ("Kjører", LineState.RUNNING),
        ("Stoppad", LineState.DOWN),
        ("Käynnissä", LineState.RUNNING),
        ("Häiriö", LineState.DOWN),
        ("Materialbrist", LineState.STARVED),
        ("Not running", None),
        ("Running with alarm", None),
        ("xyz", None),
    ],
)
def test_words_for_a_state_are_understood(text: str, state: LineState | None) -> None:
    assert state_of_words(text) is state


def test_words_of_a_vocabulary_name_it_and_enumerations_say_what_their_numbers_mean() -> None:
    assert of("Execution", values=["ACTIVE", "FEED_HOLD"]).states == "mtconnect"
    found = of("Status", values=[1], names={0: "Steht", 1: "Läuft", 2: "Sonder"})
    assert found.states == {"0": LineState.DOWN, "1": LineState.RUNNING}
    assert found.question is None
    strange = of("Status", values=[2], names={0: "Steht", 1: "Läuft", 2: "Sonder"})
    assert strange.question is not None
    assert strange.question.text == "Status is 2 (Sonder) now: what is the machine doing?"


def test_a_role_that_is_only_a_guess_is_said_to_be_not_written_and_how_to_write_it() -> None:
    guess = Proposal(role=Role.GOOD_COUNT, sureness=Sureness.GUESS)
    assert not guess.is_written
    assert "not written" in guess.role_said and "`role: good_count`" in guess.role_said
    likely = Proposal(role=Role.GOOD_COUNT, sureness=Sureness.LIKELY)
    assert likely.role_said == "good_count, likely"
    state = Proposal(role=Role.STATE, sureness=Sureness.GUESS)
    assert "unless somebody says what its values mean" in state.role_said
