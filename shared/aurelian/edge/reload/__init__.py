"""A plant that changes while its gateway runs: read, checked, kept, applied, taken back."""
