"""What is decided over a whole job: the one walk over its parts, what it counts, false discovery rate and drift."""
