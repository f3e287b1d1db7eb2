"""P-values, what calibrates them, and what is known beyond their resolution."""
