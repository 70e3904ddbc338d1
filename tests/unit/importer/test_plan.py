"""What is decided before anything is sent: unit, columns, tags, qualities, what is asked for."""

from pathlib import Path

import pytest

from aurelian.model.sample import BAD, Flag, ValueType
from importer.matching import NoMatch, find_unit, plain
from importer.number_marks import UndecidedMark
from importer.report import preview, sentences
from importer.time_formats import UndecidedTime
from tests.unit.importer.files import UNIT, plan_of, plant, read, values

PRESS = plant(
    force={"address": "ns=2;s=Press.Force", "unit": "kN"},
    oil_temperature={"unit": "Cel"},
    state={"type": "int64", "role": "state"},
    parts={"type": "uint64", "role": "good_count"},
)


def _file(folder: Path, text: str) -> Path:
    file = folder / "file.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("asset", ["press", "line-1/press", UNIT, UNIT.upper(), f"/{UNIT}/"])
def test_a_unit_is_found_by_an_ending_of_its_path(asset: str) -> None:
    assert find_unit([PRESS], asset).path == UNIT


@pytest.mark.parametrize(
    ("asset", "said"), [("line-1", "its units are"), ("pres", UNIT), ("ress", "is no unit")]
)
def test_another_asset_is_refused_with_what_there_is(asset: str, said: str) -> None:
    with pytest.raises(NoMatch, match=said):
        find_unit([PRESS], asset)


def test_columns_are_matched_by_name_address_and_title_with_a_unit(tmp_path: Path) -> None:
    titles = "Timestamp;FORCE [kN];Oil Temperature (°C);State;Parts"
    plan = plan_of(_file(tmp_path, f"{titles}\n2024-01-01 00:00:00;1,5;2,5;3;4\n"), PRESS)
    assert [v.target.name for v in plan.values if v.target] == [
        "force", "oil-temperature", "state", "parts"
    ]  # fmt: skip
    titles = "time,ns=2;s=Press.Force"
    plan = plan_of(_file(tmp_path, f"{titles}\n2024-01-01 00:00:00,1.5\n"), PRESS)
    assert [v.target.name for v in plan.values if v.target] == ["force"]


def test_marks_on_letters_which_plant_files_leave_out_are_no_other_name() -> None:
    assert plain("Öltemperatur [°C]") == plain("Oltemperatur") == "oltemperatur"


def test_unknown_columns_are_listed_with_the_nearest_names_and_nothing_is_guessed(
    tmp_path: Path,
) -> None:
    file = _file(tmp_path, "time,forse,humidity\n2024-01-01 00:00:00,1.5,40\n")
    with pytest.raises(NoMatch) as error:
        plan_of(file, PRESS)
    said = str(error.value)
    assert "'forse' is no signal" in said and "nearest: force" in said and "'humidity'" in said
    plan = plan_of(file, PRESS, maps=("forse=force",), skip=("humidity",))
    assert [v.target.name for v in plan.values if v.target] == ["force"]
    plan = plan_of(file, PRESS, maps=("forse=force",), discover=True)
    assert [t.signal.discovered for t in plan.targets] == [False, True]
    assert plan.targets[1].signal.path == f"{UNIT}/humidity"
    with pytest.raises(NoMatch, match="no signal 'nothing'"):
        plan_of(file, PRESS, maps=("forse=nothing",))
    with pytest.raises(NoMatch, match="are both 'force'"):
        plan_of(_file(tmp_path, "time,force,Force [kN]\n2024-01-01 00:00:00,1,2\n"), PRESS)


def test_a_long_table_is_read_by_its_tags(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        "t_stamp,tagpath,value,quality\n"
        "2024-01-01 00:00:00,[default]Line1/Press/Force,1.5,192\n"
        "2024-01-01 00:00:00,[default]Line1/Press/State,3,192\n"
        "2024-01-01 00:00:01,[default]Line1/Press/Force,2.5,0\n"
        "2024-01-01 00:00:02,[default]Line1/Press/Force,,192\n",
    )
    plan = plan_of(file, PRESS)
    assert plan.classic
    samples, bad = read(plan)
    assert bad == [] and values(samples) == {"force": [1.5, 2.5], "state": [3]}
    assert [s.status for s in samples if s.value == 2.5] == [BAD]
    assert all(s.flags == Flag.HISTORICAL for s in samples)
    with pytest.raises(NoMatch, match="the tag '\\[default\\]Line1/Press/Nothing'"):
        plan_of(_file(tmp_path, file.read_text().replace("State", "Nothing")), PRESS)


def test_an_influxdb_export_is_read(tmp_path: Path) -> None:
    head = (
        "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,double,string,string\n"
        "#group,false,false,true,false,false,true,true\n#default,_result,,,,,,\n"
        ",result,table,_start,_time,_value,_field,_measurement\n"
    )
    row = ",,0,2024-01-01T00:00:00Z,2024-01-01T00:00:0{}Z,{}.5,{},press\n"
    text = head + row.format(1, 1, "force") + row.format(2, 2, "force")
    text += "\n" + head + row.format(1, 3, "oil-temperature")
    samples, bad = read(plan_of(_file(tmp_path, text), PRESS))
    assert bad == []
    assert values(samples) == {"force": [1.5, 2.5], "oil-temperature": [3.5]}


def test_a_quality_beside_each_column_or_for_the_line_is_taken(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        "time,force,force_Quality,parts\n2024-01-01 00:00:00,1.5,Good,1\n"
        "2024-01-01 00:00:01,2.5,Bad_Stale,2\n",
    )
    samples, _ = read(plan_of(file, PRESS))
    assert sorted((s.signal.path[-5:], s.status) for s in samples) == [
        ("force", 0), ("force", BAD), ("parts", 0), ("parts", 0)
    ]  # fmt: skip
    file = _file(tmp_path, "time,force,Status\n2024-01-01 00:00:00,1.5,Uncertain\n")
    samples, _ = read(plan_of(file, PRESS))
    assert [s.status for s in samples] == [0x40000000]


def test_a_status_column_that_is_a_signal_is_no_quality(tmp_path: Path) -> None:
    of = plant(force={}, status={"type": "int64"})
    samples, _ = read(plan_of(_file(tmp_path, "time,force,status\n2024-01-01,1.5,3\n"), of))
    assert values(samples) == {"force": [1.5], "status": [3]}


def test_day_and_month_are_looked_for_in_the_whole_file(tmp_path: Path) -> None:
    lines = "".join(f"01/02/2024 10:{n // 60:02d}:{n % 60:02d},{n}.5\n" for n in range(900))
    with pytest.raises(UndecidedTime, match="--time-format dmy"):
        plan_of(_file(tmp_path, f"time,force\n{lines}"), PRESS)
    late = _file(tmp_path, f"time,force\n{lines}01/13/2024 10:00:00,1.5\n")
    assert plan_of(late, PRESS).time_format.name == "mdy"
    assert plan_of(late, PRESS, time_format="dmy").time_format.name == "dmy"


def test_what_was_detected_is_shown_with_the_first_rows_as_they_will_be_stored(
    tmp_path: Path,
) -> None:
    file = _file(
        tmp_path,
        "Zeit;Force [bar];Parts\n31.01.2024 10:00:00;1,5;1\n31.01.2024 10:00:01;NaN;2\n"
        "31.01.2024 10:00:02;2,5;3\n31.01.2024 10:00:03;3,5;4\n",
    )
    plan = plan_of(file, PRESS)
    said = "\n".join(sentences(plan))
    for part in ("semicolon", "header in line 1", "comma", "dmy", "Europe/Oslo", "-> force [kN]"):
        assert part in said
    assert "says bar, the plant file kN" in said
    rows = preview(plan)
    assert len({row["time"] for row in rows}) == 3
    assert rows[0]["time"] == "2024-01-31T09:00:00Z"
    assert {"BadOutOfRange", "Good"} == {row["status"] for row in rows}


def test_the_plan_is_another_one_where_file_zone_or_mapping_is(tmp_path: Path) -> None:
    file = _file(tmp_path, "time,force\n2024-01-01 00:00:00,1.5\n")
    plans = [
        plan_of(file, PRESS),
        plan_of(file, PRESS, zone="UTC"),
        plan_of(file, PRESS, maps=("force=oil-temperature",)),
    ]
    assert len({plan.identity for plan in plans}) == 3
    assert len({plan.source for plan in plans}) == 1
    assert plan_of(file, PRESS).identity == plans[0].identity
    with pytest.raises(NoMatch, match="no IANA time zone"):
        plan_of(file, PRESS, zone="Oslo")


@pytest.mark.parametrize(
    ("rows", "marks"),
    [
        (["1,5;1.234", "2,5;2.345"], [",", ","]),  # 1234 in a file with decimal commas
        (["1.5;1,234", "2.5;2,345"], [".", "."]),
        (["7;1.234"] * 500 + ["1,5;2.345"], [",", ","]),  # no line before the last tells
        (["1.234;1.234", "2.345;2.345"], [".", "."]),
        (["1;2"], [".", "."]),
        (["1,5;1.5"], [",", "."]),
    ],
)
def test_a_column_that_leaves_its_decimal_mark_open_is_written_as_the_others(
    tmp_path: Path, rows: list[str], marks: list[str]
) -> None:
    lines = "".join(f"2024-01-01 00:{n // 60:02d}:{n % 60:02d};{r}\n" for n, r in enumerate(rows))
    file = _file(tmp_path, f"time;force;oil-temperature\n{lines}")
    assert [value.marks.decimal for value in plan_of(file, PRESS).values] == marks


def test_a_decimal_mark_that_no_line_tells_is_asked_for(tmp_path: Path) -> None:
    file = _file(tmp_path, "time;force\n2024-01-01 00:00:00;1.234\n2024-01-01 00:00:01;999\n")
    with pytest.raises(UndecidedMark, match="may have decimals, or thousands; say"):
        plan_of(file, PRESS)
    assert values(read(plan_of(file, PRESS, decimal=","))[0]) == {"force": [1234.0, 999.0]}


def test_tags_of_a_long_table_are_mapped_and_left_out(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        "time,tag,value\n2024-01-01 00:00:00,F1,1.5\n2024-01-01 00:00:00,X9,2\n",
    )
    plan = plan_of(file, PRESS, maps=("F1=force",), skip=("X9",))
    assert values(read(plan)[0]) == {"force": [1.5]}


def test_a_discovered_column_has_the_type_of_its_cells(tmp_path: Path) -> None:
    file = _file(tmp_path, "time,force,word,on\n2024-01-01 00:00:00,1,a,ja\n")
    kinds = [t.signal.type for t in plan_of(file, PRESS, discover=True).targets]
    assert kinds == [ValueType.DOUBLE, ValueType.TEXT, ValueType.BOOL]


NESTED = plant(
    a={"name": "Produktion.Stuckzahl", "type": "uint64"},
    b={"name": "Produktion.Takt"},
    c={"name": "Ofen.Temperatur", "unit": "Cel"},
    d={"name": "Lager.Temperatur", "unit": "Cel"},
    e={"name": "Energie.Wirkleistung", "unit": "kW"},
    f={"name": "Netz.Kj-retid"},
    g={"name": "Netz.Phase.Strom"},
)


def test_a_column_is_known_by_the_last_parts_of_a_name_where_one_signal_has_them(
    tmp_path: Path,
) -> None:
    titles = "Zeit;Stückzahl;TAKT [s];ofen.temperatur;Wirkleistung (kW);Kjøretid;Phase/Strom"
    file = _file(tmp_path, f"{titles}\n2024-01-01 00:00:00;1;2;3;4;5;6\n")
    plan = plan_of(file, NESTED)
    assert [v.target.name for v in plan.values if v.target] == [
        "Produktion.Stuckzahl", "Produktion.Takt", "Ofen.Temperatur", "Energie.Wirkleistung",
        "Netz.Kj-retid", "Netz.Phase.Strom",
    ]  # fmt: skip
    [said] = [line for line in sentences(plan) if "last part" in line]
    assert "Stückzahl is Produktion.Stuckzahl" in said and "--map" in said
    assert "ofen.temperatur" not in said  # its whole name
    tags = "t,tag,value\n2024-01-01 00:00:00,Linie/Stückzahl,1\n2024-01-01 00:00:00,Strom,1\n"
    with pytest.raises(NoMatch, match="'Linie/Stückzahl'"):  # of another machine, who knows
        plan_of(_file(tmp_path, tags), NESTED)
    plan = plan_of(_file(tmp_path, tags.replace("Linie/", "")), NESTED)
    found = {tag: target.name for tag, target in plan.tags.items() if target}
    assert found == {"Stückzahl": "Produktion.Stuckzahl", "Strom": "Netz.Phase.Strom"}
    assert any("Strom is Netz.Phase.Strom" in note for note in plan.notes)


def test_a_last_part_that_several_signals_have_is_asked_for_with_their_names(
    tmp_path: Path,
) -> None:
    file = _file(tmp_path, "Zeit;Temperatur;Bemerkung\n2024-01-01 00:00:00;1;gut so\n")
    with pytest.raises(NoMatch) as error:
        plan_of(file, NESTED)
    said = str(error.value)
    assert "'Temperatur'" in said and "may be Ofen.Temperatur or Lager.Temperatur" in said
    remark = next(line for line in said.splitlines() if "Bemerkung" in line)
    assert "nearest" not in remark, "nothing is near"
    assert "its signals: Produktion.Stuckzahl" in said
    plan = plan_of(file, NESTED, maps=("Temperatur=Ofen.Temperatur",), skip=("Bemerkung",))
    assert [v.target.name for v in plan.values if v.target] == ["Ofen.Temperatur"]


def test_a_last_part_is_not_taken_from_the_column_of_the_whole_name_nor_of_a_quality(
    tmp_path: Path,
) -> None:
    file = _file(tmp_path, "Zeit;Takt;Produktion.Takt\n2024-01-01 00:00:00;1;2\n")
    with pytest.raises(NoMatch, match=r"'Takt' .*Produktion\.Takt"):
        plan_of(file, NESTED)
    of = plant(a={"name": "Ofen.Status", "type": "int64"}, b={"name": "Ofen.Wert"})
    file = _file(tmp_path, "Zeit;Wert;Status\n2024-01-01 00:00:00;1;Good\n")
    plan = plan_of(file, of)
    assert [(v.title, v.quality) for v in plan.values] == [("Wert", 2)]
