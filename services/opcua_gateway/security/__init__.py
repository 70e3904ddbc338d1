"""Which endpoint, whose certificate, how to sign in."""
