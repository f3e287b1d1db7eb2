"""`vae inspect`."""
