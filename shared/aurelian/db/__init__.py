"""The store: engine, tables (the read contract), migrations, offsets by log."""
