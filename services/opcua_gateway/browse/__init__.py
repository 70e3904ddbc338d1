"""`aurelian browse`: what a server has, as a listing or as a plant file."""
