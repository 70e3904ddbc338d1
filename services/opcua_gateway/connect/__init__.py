"""Connecting a server for the first time: what is wrong at each step, what it has, what comes."""
