"""The JSON Schema (draft 7) of plant files, made of the model: editors complete and check with it.
Pure; called by `aurelian plant schema`.

Editors read a file as YAML 1.2 and know nothing of the environment: what a field takes as text may
look like a number, and `${NAME:-default}` may stand for any value. What a schema cannot say (ids
that stand once, urls, time zones, fields of one kind of source) is left to `aurelian plant check`.
It refuses one thing that the model takes: the plain word `null` as a text, which may be an empty
value too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from aurelian.model.machine_states import VOCABULARIES, LineState
from aurelian.model.mqtt_model import MqttTls, SparkplugModel
from aurelian.model.mqtt_payloads import PlainMqtt, TopicModel
from aurelian.model.opcua_model import OpcuaSecurity, Waiver
from aurelian.model.plant import Plant
from aurelian.model.plant_base import PlantPart
from aurelian.model.plant_fields import descriptions, summary
from aurelian.model.plant_parts import SignalModel, States
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.status_codes import STATUS_CODES, StatusCode
from aurelian.model.written import CalendarDate, EndTime, WallTime

Schema = dict[str, Any]

_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{\w+(:-[^}]*)?\}"}
_VARIABLE_REF: Schema = {"$ref": "#/definitions/variable"}
_NUMBER: Schema = {"type": "string", "pattern": r"^\s*[+-]?[0-9._]+([eE][+-]?[0-9]+)?\s*$"}
_NULL: Schema = {"type": "null"}


def schema_text() -> str:
    """The schema as a file has it."""
    return json.dumps(make_schema(), indent=1, ensure_ascii=False) + "\n"


def make_schema() -> Schema:
    """The schema of a plant file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Aurelian plant model",
        "description": summary(Plant),
        "$ref": f"#/definitions/{Plant.__name__}",
        "definitions": {**_definitions(), "variable": _VARIABLE},
    }


def _definitions() -> dict[str, Schema]:
    found: dict[str, Schema] = {}

    def define(part: type[PlantPart]) -> Schema:
        if part.__name__ not in found:
            made: Schema = {}
            found[part.__name__] = made
            made |= _part(part, define)
        return {"$ref": f"#/definitions/{part.__name__}"}

    define(Plant)
    return found


_Define = Callable[[type[PlantPart]], Schema]


def _part(part: type[PlantPart], define: _Define) -> Schema:
    said = descriptions(part)
    properties: dict[str, Schema] = {}
    for name, field in part.model_fields.items():
        properties[name] = _field(part, name, field, define)
        if name in said:
            properties[name]["description"] = said[name]
    return {
        "type": "object",
        "description": summary(part),
        "properties": properties,
        "required": [name for name, each in part.model_fields.items() if each.is_required()],
        "additionalProperties": False,
    }


def _field(part: type[PlantPart], name: str, field: FieldInfo, define: _Define) -> Schema:
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated[(annotation, *field.metadata)]
    options = _options(annotation, define)
    for each in part.__mro__:
        options += OTHERWISE_WRITTEN.get((each, name), [])
    made: Schema = {"anyOf": [*options, _VARIABLE_REF]}
    default = field.get_default()
    if default is not PydanticUndefined and isinstance(default, str | int | float | bool):
        shown = default.name.lower() if isinstance(default, ValueType) else default
        made["default"] = shown.value if isinstance(shown, Enum) else shown
    return made


def _options(annotation: Any, define: _Define) -> list[Schema]:
    """What may be written for a value, one of them."""
    rules: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        rules = [*more, *rules]
    for rule in reversed(rules):
        if isinstance(rule, BeforeValidator) and rule in OF_VALIDATOR:
            return OF_VALIDATOR[rule]()
    limits = _limits(rules)
    if isinstance(annotation, type):
        if issubclass(annotation, PlantPart):
            return [define(annotation)]
        if issubclass(annotation, Enum):
            return [{"enum": [each.value for each in annotation]}]
        if annotation is str:
            return _text(limits)
        if annotation is bool:
            return [{"type": "boolean"}, *_words("true false yes no on off t f y n 1 0")]
        if annotation in (int, float):
            kind = "integer" if annotation is int else "number"
            return [{"type": kind, **limits}, _NUMBER]
        if annotation is type(None):
            return [_NULL]
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Literal:
            return [{"enum": list(arguments)}]
        case origin if origin is tuple and arguments[-1] is not Ellipsis:
            items = [_one(each, define) for each in arguments]
            return [
                {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
            ]
        case origin if origin is tuple:
            return [{"type": "array", "items": _one(arguments[0], define), **limits}]
        case origin if origin is dict:
            return [{"type": "object", "additionalProperties": _one(arguments[1], define)}]
        case _:  # a union, whose limits are of each
            inner = [Annotated[(option, *rules)] if rules else option for option in arguments]
            return [each for option in inner for each in _options(option, define)]


def _one(annotation: Any, define: _Define) -> Schema:
    """The same as one schema, for what stands in a list."""
    options = _options(annotation, define)
    return {"anyOf": [*options, _VARIABLE_REF]}


def _limits(rules: list[Any]) -> Schema:
    found: Schema = {}
    for rule in rules:
        match rule:
            case annotated_types.Gt():
                found["exclusiveMinimum"] = rule.gt
            case annotated_types.Ge():
                found["minimum"] = rule.ge
            case annotated_types.Le():
                found["maximum"] = rule.le
            case annotated_types.MinLen():
                found["minItems"] = found["minLength"] = rule.min_length
            case annotated_types.MaxLen():
                found["maxLength"] = rule.max_length
            case FieldInfo():
                found |= _limits(rule.metadata)
            case _:
                if isinstance(pattern := getattr(rule, "pattern", None), str):
                    found["pattern"] = pattern
    return found


def _text(limits: Mapping[str, Any]) -> list[Schema]:
    """A text; its word may look like a number or a truth value."""
    said = {name: each for name, each in limits.items() if name != "minItems"}
    return [{"type": ["string", "number", "boolean"], **said}]


def _any_case(word: str) -> str:
    return "".join(f"[{each.lower()}{each.upper()}]" if each.isalpha() else each for each in word)


def _words(words: str) -> list[Schema]:
    """Words in either case, also where YAML takes one for a number or a truth value."""
    numbers = [int(each) for each in words.split() if each.isdecimal()]
    pattern = "^(" + "|".join(map(_any_case, words.split())) + ")$"
    found: list[Schema] = [{"type": "string", "pattern": pattern}]
    return [*found, {"enum": numbers}] if numbers else found


def _time(*more: str) -> list[Schema]:
    pattern = "|".join((r"([01]?[0-9]|2[0-3]):[0-5][0-9](:00)?", *more))
    return [{"type": "string", "pattern": f"^({pattern})$"}]


def _date() -> list[Schema]:
    return [{"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"}]


def _value_type() -> list[Schema]:
    names = [each.name.lower() for each in ValueType if each is not ValueType.NULL]
    return [{"enum": names}, *_words(" ".join(names))]


def _states() -> list[Schema]:
    states = {"enum": [each.value for each in LineState]}
    mapping = {"type": "object", "minProperties": 1, "additionalProperties": states}
    return [{"enum": list(VOCABULARIES)}, mapping]


def _status_code() -> list[Schema]:
    return [
        {"enum": list(STATUS_CODES)},
        {"type": "string", "pattern": r"^\s*(0[xX])?[0-9a-fA-F_]{8,}\s*$"},
        {"type": "integer", "minimum": 1 << 30, "maximum": (1 << 32) - 1},
    ]


def _validator(annotated: Any) -> BeforeValidator:
    """The last validator of an annotation."""
    found = [each for each in get_args(annotated)[1:] if isinstance(each, BeforeValidator)]
    return found[-1]


OF_VALIDATOR: Mapping[BeforeValidator, Callable[[], list[Schema]]] = {
    _validator(WallTime): _time,
    _validator(EndTime): lambda: _time("24:00(:00)?"),
    _validator(CalendarDate): _date,
    _validator(States): _states,
    _validator(StatusCode): _status_code,
    next(
        each
        for each in SignalModel.model_fields["type"].metadata
        if isinstance(each, BeforeValidator)
    ): _value_type,
}
"""What may be written where a validator of one's own reads it."""

OTHERWISE_WRITTEN: Mapping[tuple[type, str], list[Schema]] = {
    (SourceModel, "good_status"): _status_code(),
    (SourceModel, "alarms"): [{"type": "boolean"}, *_words("true false")],
    (PlainMqtt, "share"): [{"type": "string", "minLength": 1, "pattern": r"^[^/+#\u0000]+$"}],
    (MqttTls, "alpn"): [{"type": "string", "minLength": 1}],
    (MqttTls, "waive"): [{"enum": ["host_name", "validity"]}],
    (OpcuaSecurity, "waive"): [
        {
            "type": "string",
            "pattern": r"^\s*({0})\s*(,\s*({0})\s*)*$".format("|".join(get_args(Waiver))),
        }
    ],
}
"""What a field takes beside what its type says."""

ONLY_EXPLAINED = frozenset(
    {
        (SourceModel, "security"),
        (OpcuaSecurity, "mode"),
        (SparkplugModel, "mode"),
        (TopicModel, "payload"),
    }
)
"""Fields whose own validator takes nothing more, and explains what is wrong."""
