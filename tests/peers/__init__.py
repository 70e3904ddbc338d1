"""Foreign servers and clients that tests meet: programs of other people, run as they are."""
