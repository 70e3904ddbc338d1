"""How every process starts, is configured, is watched and answers over HTTP."""
