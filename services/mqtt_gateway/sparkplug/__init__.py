"""Sparkplug B: a host application's connection, its view of edge nodes, and what becomes of their
metrics."""
