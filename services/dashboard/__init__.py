"""The operators' pages: plant, line, signal and system, server-rendered and then live over one
stream."""
