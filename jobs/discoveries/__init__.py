"""What is decided over a whole job: false discovery rate, drift, and the one walk over its parts."""
