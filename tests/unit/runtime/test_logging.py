"""Log lines: what each of them has stays what it is."""

import json
import logging

from aurelian.runtime.service import JsonFormatter


def test_a_field_never_takes_the_place_of_what_each_line_has() -> None:
    record = logging.LogRecord("x.y", logging.INFO, "file", 1, "ready", None, None)
    record.fields = {"level": 255, "message": "other", "server": "opc.tcp://plc:4840"}
    line = json.loads(JsonFormatter("x").format(record))
    assert (line["level"], line["message"]) == ("INFO", "ready")
    assert line["server"] == "opc.tcp://plc:4840"
