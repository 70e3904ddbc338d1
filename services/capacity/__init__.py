"""Weekly capacity of lines: Total = Available + Committed + Unattainable, its events and its
API."""
