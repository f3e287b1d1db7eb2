"""`vae find`."""
