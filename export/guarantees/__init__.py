"""P-values, their calibration, and a tail model beyond their resolution."""
