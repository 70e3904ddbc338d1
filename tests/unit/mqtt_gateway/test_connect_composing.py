"""What of proposals goes into a plant file, and what people are asked before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aurelian.edge.proposals.proposal import Proposal, Sureness
from aurelian.edge.proposals.state_words import Answer, StateQuestion, question_for
from aurelian.local.connect_secrets import Secrets
from aurelian.local.connect_walk import NewSource, Place, Talk, plan_sources
from aurelian.model.machine_states import LineState
from aurelian.model.plant_parts import Role
from mqtt_gateway.connect.asking import settle_states
from mqtt_gateway.connect.composing import compose, free_name
from mqtt_gateway.connect.proposed import ProposedSignal, ProposedSource, ProposedUnit
from mqtt_gateway.connect.walk import Walk
from mqtt_gateway.settings import MqttGatewaySettings

_PLACE = Place("acme", "north", "UTC")


class Somebody(Talk):
    """Somebody who knows the press, and nothing of the oven."""

    def __init__(self) -> None:
        super().__init__(as_json=False, yes=False)
        self.heard: list[str] = []

    def ask_state(self, question: StateQuestion) -> Answer | None:
        self.heard.append(question.text)
        return Answer(question.value, LineState.DOWN) if "press" in question.text else None

    def ask(
        self, question: str, default: str, check: Callable[[str], str] = lambda given: given
    ) -> str:
        return "press-7"

    def ask_secret(self, question: str) -> str:
        raise AssertionError("it would go in the clear")


def state(value: object) -> ProposedSignal:
    question = question_for("state", value, None)
    proposal = Proposal(Role.STATE, why=("its name",), sureness=Sureness.GUESS, question=question)
    return ProposedSignal({"name": "state", "role": "state", "type": "int64"}, proposal, value)


def source(*units: ProposedUnit, name: str = "broker") -> ProposedSource:
    fields = {"id": name, "kind": "mqtt", "url": "mqtt://broker", "topic": "{area}/{line}/{unit}"}
    return ProposedSource(fields, units, ())


def unit(name: str, area: str = "", line: str = "") -> ProposedUnit:
    return ProposedUnit({"name": name, "source": "broker", "signals": []}, (state(7),), area, line)


def test_a_state_is_one_by_an_answer_and_a_guess_is_not_written(tmp_path: Path) -> None:
    talk, proposed = Somebody(), source(unit("press"), unit("oven"))
    states = settle_states(talk, [proposed], [])
    assert talk.heard == [
        "press/state is 7 now: what is the machine doing?",
        "oven/state is 7 now: what is the machine doing?",
    ]
    made, left_out = compose([proposed], states, _PLACE, None, ["broker"])
    assert not left_out
    plant = plan_sources(
        tmp_path, [NewSource(each.fields, each.units) for each in made], _PLACE
    ).plant
    assert [each.id for each in plant.sources] == ["broker-2"]
    press, oven = (each.model for each in plant.units())
    assert (press.signals[0].role, press.signals[0].states) == (Role.STATE, {"7": "down"})
    assert oven.signals[0].role is Role.OTHER and press.source == oven.source == "broker-2"


def test_states_may_be_said_beforehand_and_of_what_is_there_alone() -> None:
    talk, proposed = Somebody(), source(unit("press"), unit("oven"))
    said = ["press/state=7:running, 8:down", "oven/state=packml"]
    assert settle_states(talk, [proposed], said) == {
        "press/state": {"7": "running", "8": "down"},
        "oven/state": "packml",
    }
    assert not talk.heard
    with pytest.raises(SystemExit) as ended:
        settle_states(talk, [proposed], ["pres/state=1:down"])
    assert ended.value.code == 2


def test_units_stand_where_their_topics_say(tmp_path: Path) -> None:
    """Of one name at two lines, and one whose area can be no name."""
    proposed = source(
        unit("press", "hall", "l1"),
        unit("press", "hall", "l2"),
        unit("oven", "hall", "l1"),
        unit("saw", "Werk Süd", "l1"),
    )
    more = source(unit("press", "hall", "l1"), name="broker-2")
    made, left_out = compose([proposed, more], {}, _PLACE, None, [])
    assert left_out == ["unit saw: 'Werk Süd' can be no area or line"]
    plant = plan_sources(
        tmp_path, [NewSource(each.fields, each.units) for each in made], _PLACE
    ).plant
    assert {each.path: (each.model.source, each.model.address) for each in plant.units()} == {
        "acme/north/hall/l1/press": ("broker", ""),
        "acme/north/hall/l1/oven": ("broker", ""),
        "acme/north/hall/l1/press-2": ("broker-2", "press"),
        "acme/north/hall/l2/press": ("broker", ""),
    }


def test_free_names() -> None:
    assert free_name("press", []) == "press"
    assert free_name("press", ["press", "press-2"]) == "press-3"
    assert len(free_name("p" * 64, ["p" * 64])) <= 64


def test_a_password_that_would_go_in_the_clear_is_not_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = Secrets(tmp_path)
    try:
        base = {"id": "x", "url": "mqtt://broker.works"}
        walk = Walk(Somebody(), MqttGatewaySettings(state=tmp_path), secrets, base, filters=("#",))
        assert not walk.signs_in()
    finally:
        secrets.close()
    assert "AURELIAN_MQTT_INSECURE_HOSTS" in capsys.readouterr().err
