"""Statistics over a whole scoring job: one walk over its parts, counters, false discovery rate and drift."""
