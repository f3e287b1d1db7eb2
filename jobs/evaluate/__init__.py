"""`vae evaluate`."""
