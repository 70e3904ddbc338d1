"""What helps to connect a broker: the ladder of steps with what is wrong at each, what there is to
hear as a tree of topics, proposals for the plant file out of it, and a trial of a plant file."""
