"""The vocabulary of the plant and of telemetry: pure values, no I/O; imports nothing else of
ours."""
