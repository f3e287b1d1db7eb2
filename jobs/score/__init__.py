"""`vae score`."""
