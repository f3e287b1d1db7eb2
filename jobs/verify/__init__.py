"""`vae verify`."""
