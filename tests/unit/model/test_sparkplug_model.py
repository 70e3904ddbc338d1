"""What a Sparkplug source of the plant file says of our host application, and what is refused."""

import pytest
from pydantic import ValidationError

from aurelian.model.mqtt_model import SparkplugModel
from aurelian.model.source_model import SourceModel


def source(**more: object) -> SourceModel:
    given = {"id": "s", "kind": "sparkplug", "url": "mqtt://127.0.0.1", **more}
    return SourceModel.model_validate(given)


def test_a_source_that_says_nothing_has_a_tolerant_primary_host() -> None:
    assert source().sparkplug is None
    options = SparkplugModel()
    assert (options.mode, options.strict, options.reorder_s) == ("primary", False, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "secondary-pasive"}, "did you mean 'secondary-passive'?"),
        ({"mode": "boss"}, "there are primary, secondary-active, secondary-passive"),
        ({"mode": "secondary-active", "legacy_state": True}, "`legacy_state` is of STATE"),
        ({"mode": "secondary-passive", "host_id": "x"}, "`host_id` is of STATE"),
        ({"mode": "secondary-passive", "strict": True}, "`strict` asks for a rebirth"),
        ({"host_id": "a/b"}, "host_id"),
        ({"reorder_s": -1}, "reorder_s"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match="sparkplug") as refused:
        source(sparkplug=options)
    assert said in str(refused.value)


def test_another_kind_has_no_host_application() -> None:
    with pytest.raises(ValidationError, match="kind sparkplug only"):
        source(kind="mqtt_json", topic="x/{unit}", sparkplug={})
