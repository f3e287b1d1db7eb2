"""How good samples are, beside test images."""
