"""The history API: latest values and history over the asset tree, the ledger, gaps and what was
rejected."""
