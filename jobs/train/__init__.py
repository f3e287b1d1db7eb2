"""`vae train`."""
