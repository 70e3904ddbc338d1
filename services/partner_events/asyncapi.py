"""Makes the AsyncAPI 3.0 document from the event types. Pure; served by the API as
`/events/v1/asyncapi.yaml`."""

from __future__ import annotations

from aurelian import __version__
from aurelian.model.yaml_text import write_yaml
from partner_events.event_types import TYPES, EventType

CLOUDEVENT = "application/cloudevents+json"

ENVELOPE: dict[str, object] = {
    "specversion": {"const": "1.0"},
    "id": {
        "type": "string",
        "description": "with `source` it names the event, at every delivery the same",
    },
    "source": {"type": "string", "description": "/aurelian/<service>"},
    "type": {"type": "string"},
    "subject": {"type": "string", "description": "id of the asset that it is about"},
    "time": {"type": "string", "format": "date-time"},
    "datacontenttype": {"const": "application/json"},
    "owner": {"type": "string", "description": "company whose data this is"},
    "sequence": {
        "type": "string",
        "pattern": "^[0-9]{20}$",
        "description": (
            "number of the event in the outbox of its service, which is its `source`; compares as "
            "text and is the same at every delivery. Of two events with the same `source` and "
            "`subject` the greater is the newer: an attempt that comes late is known by it. "
            "Between subjects or sources it says nothing, and its holes are no loss: the outbox "
            "counts events of all subjects and companies. It is not the number of the log that "
            "`after` takes. Test events have none"
        ),
    },
}


def make_document() -> dict[str, object]:
    """Make the document: one message per event type, on the stream and on webhooks."""
    messages = {_short(each): _message(each) for each in TYPES}
    on_channel = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Aurelian business events",
            "version": __version__,
            "description": (
                "CloudEvents 1.0 in structured JSON mode, delivered at least once. Know an event "
                "again by "
                "(source, id). Under a grant with fields, `data` has those fields only. "
                "The same events, in the same order, can be polled: GET /events/v1/events?after=N."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CLOUDEVENT,
        "channels": {
            "stream": {
                "address": "/events/v1/stream",
                "title": "Server-sent events",
                "description": (
                    "id = number in the log, event = type, data = the CloudEvent. Resume with "
                    "Last-Event-ID. "
                    "An event `reset` says that numbers before `oldest` are not kept any more."
                ),
                "messages": on_channel,
                "bindings": {"http": {}},
            },
            "webhook": {
                "address": None,
                "title": "The subscriber's endpoint",
                "description": (
                    "POST, signed as Standard Webhooks 1.0.0: `webhook-id` is the event's id, "
                    "`webhook-timestamp` "
                    "is new at each attempt, `webhook-signature` is HMAC-SHA256. Answer 2xx "
                    "within 15 s."
                ),
                "messages": on_channel,
                "bindings": {"http": {}},
            },
        },
        "operations": {
            "streamEvents": _operation("stream", messages, {}),
            "callWebhook": _operation("webhook", messages, {"http": {"method": "POST"}}),
        },
        "components": {
            "messages": messages,
            "messageTraits": {"cloudevent": {"contentType": CLOUDEVENT}},
            "schemas": {f"{_short(each)}Data": _schema(each) for each in TYPES},
        },
    }


def render_yaml() -> str:
    """The document as YAML."""
    return write_yaml(make_document())


def _operation(
    channel: str, messages: dict[str, dict[str, object]], bindings: dict[str, object]
) -> dict[str, object]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
        "bindings": bindings,
    }


def _message(each: EventType) -> dict[str, object]:
    name = _short(each)
    properties = {
        **ENVELOPE,
        "type": {"const": each.name},
        "data": {"$ref": f"#/components/schemas/{name}Data"},
    }
    required = [name for name in properties if name != "sequence"]
    return {
        "name": each.name,
        "title": each.summary,
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"type": "object", "required": required, "properties": properties},
        "examples": [{"name": name, "payload": make_example(each)}],
    }


def make_example(each: EventType) -> dict[str, object]:
    """A whole CloudEvent of the type."""
    return {
        "specversion": "1.0",
        "id": "9a3c0f5e-5a1b-5f43-9a2e-3d6f0a7c1b55",
        "source": "/aurelian/" + each.name.split(".")[2].replace("line", "line_health"),
        "type": each.name,
        "subject": "a-77c1",
        "time": "2026-11-23T06:12:04Z",
        "datacontenttype": "application/json",
        "owner": "pilot-a",
        "sequence": f"{4711:020}",
        "data": each.example,
    }


def _schema(each: EventType) -> dict[str, object]:
    """The JSON schema of `data`; the models inside it are referred to from the document's root."""
    here = f"#/components/schemas/{_short(each)}Data/$defs/"
    schema: dict[str, object] = each.content.model_json_schema(ref_template=here + "{model}")
    return schema


def _short(each: EventType) -> str:
    """`org.aurelian.line.state-changed.v1` -> `LineStateChangedV1`."""
    words = each.name.removeprefix("org.aurelian.").replace(".", "-").split("-")
    return "".join(word[:1].upper() + word[1:] for word in words)
