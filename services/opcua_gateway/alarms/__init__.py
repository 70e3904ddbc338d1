"""Events, alarms and conditions of a server (part 9): what is watched, what they mean."""
