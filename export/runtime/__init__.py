"""ONNX Runtime sessions, and the Python interface to a bundle: score, sample, estimate likelihoods. No torch."""
