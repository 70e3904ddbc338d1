"""What each line does: state, stops, counts and OEE of the running shift, limit alarms."""
