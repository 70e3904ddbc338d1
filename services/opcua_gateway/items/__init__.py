"""What is asked of a server for each node, what it gives, and what is repeated when nothing comes."""
