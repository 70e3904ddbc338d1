"""The plant model: what is wrong is named with file, line and field; ids and paths are stable."""

import re
from pathlib import Path

import pytest

from aurelian.model.plant import derive_id
from aurelian.model.plant_file import PlantError, load_plant, load_plants
from aurelian.model.plant_parts import Role
from aurelian.model.sample import ValueType

GOOD = """\
company: {id: acme, name: Acme}
site: north
time_zone: Europe/Oslo
sources:
  - {id: plc, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}
calendar:
  shifts:
    - {name: day, start: "06:00", end: "14:00", breaks: [{start: "10:00", minutes: 15}]}
areas:
  - name: press-shop
    lines:
      - name: line-1
        products: [{id: p1, ideal_cycle_s: 4.5}]
        units:
          - name: press
            source: plc
            signals:
              - {name: state, address: "ns=2;s=press.state", role: state, type: int64}
              - name: temperature
                address: "ns=2;s=press.t"
                unit: Cel
                limits: {high: 80, action: Look at the coolant}
          - name: drill
            source: plc
"""


def write(folder: Path, text: str, name: str = "plant.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def problem(folder: Path, old: str, new: str) -> str:
    """The message for the good file with `old` replaced."""
    assert old in GOOD
    with pytest.raises(PlantError) as caught:
        load_plant(write(folder, GOOD.replace(old, new, 1)))
    return str(caught.value)


def line_number(part: str, text: str = GOOD) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_good_file_gives_paths_signals_and_defaults(tmp_path: Path) -> None:
    plant = load_plant(write(tmp_path, GOOD))
    (line,) = plant.lines()
    assert line.path == "acme/north/press-shop/line-1"
    assert [unit.path for unit in plant.units()] == [f"{line.path}/press", f"{line.path}/drill"]
    assert line.output.model.name == "drill" and line.constraint.model.name == "drill"
    state, temperature = line.units[0].signals()
    assert (state.path, state.type, state.source) == (
        f"{line.path}/press/state",
        ValueType.INT64,
        "acme/north/plc",
    )
    (source,) = plant.sources
    assert (source.key, source.slug) == ("acme/north/plc", "acme~north~plc")
    assert (temperature.type, temperature.unit) == (ValueType.DOUBLE, "Cel")
    assert line.units[0].model.signals[0].role is Role.STATE
    assert plant.owner == "acme" and str(plant.zone) == "Europe/Oslo"


def test_ids_follow_from_paths_and_a_given_id_outlives_a_rename(tmp_path: Path) -> None:
    plant = load_plant(write(tmp_path, GOOD))
    (line,) = plant.lines()
    assert line.id == derive_id("acme/north/press-shop/line-1")
    assert len({asset.id for asset in plant.assets()}) == 6
    renamed = load_plant(
        write(
            tmp_path,
            GOOD.replace("- name: press\n", f"- name: stamp\n            id: {line.units[0].id}\n"),
        )
    )
    assert next(renamed.units()).id == line.units[0].id


def test_assets_come_parents_first_and_belong_to_the_company(tmp_path: Path) -> None:
    seen: set[str] = set()
    for asset in load_plant(write(tmp_path, GOOD)).assets():
        assert asset.parent is None or asset.parent in seen
        assert asset.owner == "acme"
        seen.add(asset.id)
    levels = [asset.level for asset in load_plant(write(tmp_path, GOOD)).assets()]
    assert levels == ["enterprise", "site", "area", "line", "unit", "unit"]


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        (
            "time_zone: Europe/Oslo",
            "time_zone: Europe/Olso",
            "time_zone",
            r"time_zone: "
            r".*'Europe/Olso' is no "
            r"IANA",
        ),
        ("kind: opcua", "kind: opcda", "kind: opcua", r"sources\.0\.kind: "),
        (
            "ideal_cycle_s: 4.5",
            "ideal_cycle_s: 0",
            "ideal_cycle_s",
            r"products\.0\.ideal_cycle_s: "
            r".*greater than or equal to 0\.001",
        ),
        ("type: int64", "type: integer", "type: int64", r"signals\.0\.type: "),
        (
            "unit: Cel",
            "unti: Cel",
            "unit: Cel",
            r"signals\.1\.unti: there is no such",
        ),
        (", action: Look at the coolant", "", "limits", r"signals\.1\.limits: .*needs `action`"),
        ("name: press-shop", "name: press shop", "press-shop", r"areas\.0\.name: "),
        ("minutes: 15", "minutes: -1", "minutes", r"breaks\.0\.minutes: "),
        ("role: state", "role: status", "role: state", r"signals\.0\.role: "),
        *(
            (':4840"}', f':4840", {more}}}', "opc.tcp", f"sources\\.0{says}")
            for more, says in {
                "security: {polcy: best}": r"\.security\.polcy: .*did you mean 'policy'",
                "security: {policy: Basic}": r"\.security\.policy: .*'Basic256Sha256'",
                "security: {server_sha256: 3F}": r"\.security\.server_sha256: .*64 hexadecimal",
                "security: {waive: [all]}": r"\.security\.waive\.0: .*'host_name'",
                "password_file: word": ": a password needs the name of its `user`",
                "user: a, user_certificate: b, user_key: c": ": sign in by `user` or by",
                "user_key: c": ": `user_certificate` and `user_key` belong together",
                "user: a, password_env: B, password_file: c": ": say `password_file` or",
                "user: a": ": the password of `user: a` is nowhere: say `password_file`",
                "security: none": r"\.security: 'none' is no mapping; say .*{policy: None}",
                "security: no": r"\.security: 'no' is no mapping; .*in the clear",
                "security: [best]": r"\.security: .* is no mapping; say `security: {policy: best}",
                "security: Basic256": r"\.security: .*say `security: {policy: Basic256}`",
                "security: {waive: hostname}": r"\.security\.waive: 'hostname' is no check; did yo",
                "security: {policy: None, mode: Sign}": r"\.security: `policy: None` has no `mode",
                "security: {policy: None, mode: None}": r"\.security\.mode: .*take `mode` out",
                "security: {mode: None}": r"\.security\.mode: the mode None belongs to `policy: No",
                f"security: {{trust: first_use, server_sha256: {'3F' * 32}}}": r"\.security: `serve"
                r"r_sha256` names .*`trust: first_use`",
                "redundant: [http://a:1]": r"\.redundant: .*opc\.tcp",
                "redundant: ['opc.tcp://127.0.0.1:4840']": r"\.redundant: .* stands there twice",
                "redundancy: tepid": r"\.redundancy: .*'cold'",
                "redundant: ['opc.tcp://a:1'], redundancy: none": ": `redundant` names ser",
                "redundant: ['opc.tcp://a:1'], security: {server_uri: 'urn:a'}": ": `server_uri` "
                "of `security` fits one server",
                "security: {policy: None, server_uri: 'urn:a'}": ": with `policy: None` and no `us"
                "er` .*`server_uri` of `security` counts for nothing",
                f"security: {{policy: None, server_sha256: {'3F' * 32}}}": ".*`server_sha256` of",
                "security: {policy: None, trust: first_use}": ".*`trust` of `security` counts for",
                "security: {policy: None, waive: host_name}": ".*`waive` of `security` counts for",
            }.items()
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, at: str, says: str
) -> None:
    message = problem(tmp_path, old, new)
    assert re.search(says, message), message
    assert f"plant.yaml:{line_number(at)}: " in message, message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "            source: plc\n            signals",
            "            source: plk\n            signals",
            "source 'plk' is not under `sources`",
        ),
        ("unit: Cel", "role: state", "'state' has the role state already; a unit has one of it"),
        ("- name: drill", "- name: press", "'acme/north/press-shop/line-1/press' stands twice"),
        ("- name: temperature", "- name: state", "line-1/press/state' stands twice"),
        (
            "      - name: line-1\n",
            "      - name: line-1\n        constraint: saw\n",
            "constraint 'saw' is none of its units",
        ),
        (
            "      - name: line-1\n",
            "      - name: line-1\n        output: saw\n",
            "output 'saw' is none of its units",
        ),
    ],
)
def test_parts_that_contradict_each_other_are_named(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert says in problem(tmp_path, old, new)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (
            "            source: plc\n            signals",
            "            source: plk\n            signals",
            "units.0.source",
        ),
        ("- name: drill", "- name: press", "units.1.name"),
        ("- name: temperature", "- name: state", "signals.1.name"),
        ("      - name: line-1\n", "      - name: line-1\n        output: saw\n", "lines.0.output"),
        ('address: "ns=2;s=press.t"', 'address: " "', "signals.1.address"),
        ("site: north", "site: north\nsite: south", "site: stands twice"),
        ("type: int64", "type: float", "no type; say double"),
    ],
)
def test_every_mistake_is_named_with_line_and_field(
    tmp_path: Path, old: str, new: str, place: str
) -> None:
    message = problem(tmp_path, old, new)
    assert place in message and re.search(r"plant\.yaml:([2-9]|\d\d+): ", message), message


def test_a_wrong_indentation_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"plant\.yaml:3: .*expected <block end>"):
        load_plant(write(tmp_path, "areas:\n  - name: hall\n   lines: []\n"))


def test_every_problem_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("kind: opcua", "kind: x").replace("type: int64", "type: y")
    with pytest.raises(PlantError) as caught:
        load_plant(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["company: [", "\tx: 1", "", "- just\n- a list\n"])
def test_what_is_no_plant_at_all_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(PlantError, match=r"plant\.yaml"):
        load_plant(write(tmp_path, text))


def test_a_file_that_is_missing_or_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"absent\.yaml"):
        load_plant(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"company: \xe9")
    with pytest.raises(PlantError, match=r"latin\.yaml"):
        load_plant(tmp_path / "latin.yaml")


def test_addresses_are_filled_from_the_environment_or_their_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GOOD.replace('"opc.tcp://127.0.0.1:4840"', "${AURELIAN_TEST_URL:-opc.tcp://plc:4840}")
    file = write(tmp_path, text)
    monkeypatch.delenv("AURELIAN_TEST_URL", raising=False)
    assert load_plant(file).sources[0].url == "opc.tcp://plc:4840"
    monkeypatch.setenv("AURELIAN_TEST_URL", "opc.tcp://other:1")
    assert load_plant(file).sources[0].url == "opc.tcp://other:1"


def test_a_folder_without_plants_and_two_files_for_one_site_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match="no plant-model file"):
        load_plants(tmp_path)
    write(tmp_path, GOOD, "a.yaml")
    write(tmp_path, GOOD, "b.yaml")
    with pytest.raises(
        PlantError, match=r"b\.yaml:\d+: site: site 'acme/north' stands in .*a\.yaml"
    ):
        load_plants(tmp_path)


def test_one_id_in_two_files_is_refused(tmp_path: Path) -> None:
    own = "- name: press\n            id: the-press\n"
    write(tmp_path, GOOD.replace("- name: press\n", own), "a.yaml")
    other = GOOD.replace("- name: press\n", own).replace("site: north", "site: south")
    write(tmp_path, other, "b.yaml")
    with pytest.raises(
        PlantError,
        match=r"b\.yaml:16: areas.0.lines.0.units.0.id: the id 'the-press' stands in .*a\.yaml too",
    ):
        load_plants(tmp_path)


def test_a_file_by_its_name_and_files_of_either_ending_are_read(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "a.yaml")
    write(tmp_path, GOOD.replace("site: north", "site: south"), "b.yml")
    write(tmp_path, "no plant", "notes.txt")
    assert [plant.site for plant in load_plants(tmp_path)] == ["north", "south"]
    assert [plant.site for plant in load_plants(tmp_path / "b.yml")] == ["south"]


def test_two_sites_may_each_name_a_source_plc(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "a.yaml")
    write(tmp_path, GOOD.replace("site: north", "site: south"), "b.yaml")
    keys = ["acme/north/plc", "acme/south/plc"]
    plants = load_plants(tmp_path)
    assert [plant.sources[0].key for plant in plants] == keys
    units = [next(plant.units()) for plant in plants]
    assert [next(unit.signals()).source for unit in units] == keys
    assert [unit.meaning()["source"] for unit in units] == keys


def test_files_are_read_as_yaml_1_2(tmp_path: Path) -> None:
    """In YAML 1.1 the site would be false and the shift would begin at minute 360."""
    text = GOOD.replace("site: north", "site: no").replace("title: North", "title: on")
    assert load_plant(write(tmp_path, text)).path == "acme/no"


@pytest.mark.parametrize(
    ("written", "waived"),
    [
        ("host_name", ("host_name",)),
        ("'host_name, validity'", ("host_name", "validity")),
        ("[host_name, validity]", ("host_name", "validity")),
    ],
)
def test_checks_are_waived_by_a_word_or_a_list(
    tmp_path: Path, written: str, waived: tuple[str, ...]
) -> None:
    text = GOOD.replace(':4840"}', f':4840", security: {{waive: {written}}}}}', 1)
    plant = load_plant(write(tmp_path, text))
    security = plant.sources[0].security
    assert security is not None and security.waive == waived


def test_a_user_in_the_clear_may_name_the_certificate_that_the_password_is_for(
    tmp_path: Path,
) -> None:
    security = "{policy: None, server_uri: 'urn:a', trust: first_use}"
    more = f"user: a, password_file: b, security: {security}"
    text = GOOD.replace(':4840"}', f':4840", {more}}}', 1)
    assert load_plant(write(tmp_path, text)).sources[0].security is not None
