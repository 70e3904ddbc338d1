"""What is asked of a server for each node, what it gives, what is repeated while nothing comes."""
