"""What a signal of a machine may be to the platform, proposed with the reason why."""
