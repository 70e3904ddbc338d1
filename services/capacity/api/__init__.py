"""The capacity API: an entry point of its own, so that a slow reader never stalls the worker
(D18)."""
