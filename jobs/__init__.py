"""The commands, on one machine or a Ray cluster: prepare, train, export, calibrate, score, sample, evaluate."""
