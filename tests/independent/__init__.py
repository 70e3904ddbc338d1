"""Figures computed a second time, from raw rows, by other means than the services."""
