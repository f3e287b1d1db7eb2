"""ONNX Runtime sessions, and the Python face of a bundle: score, sample, estimate likelihoods. No torch."""
