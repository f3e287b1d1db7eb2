"""`vae prepare`."""
