"""What people and their tools look at: the metrics endpoint. Reads a run from outside; changes nothing."""
