"""`vae demo`."""
