"""How payloads of MQTT messages are written, one decoder a way: from topic and payload to named
values and to what a message says of its device. Pure; called by message_map.py.

`contract.py` says what a decoder gets and gives; `table.py` has all of them by their name in the
plant file.
"""
