"""Who may do what: API keys and the one policy function."""
