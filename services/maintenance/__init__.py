"""The health of machines: an index and its drivers per machine, cases that open and close, a read
API."""
