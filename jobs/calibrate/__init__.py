"""`vae calibrate`."""
