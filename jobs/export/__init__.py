"""`vae export`."""
