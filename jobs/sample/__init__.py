"""`vae sample`."""
