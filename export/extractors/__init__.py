"""Feature extractors as ONNX graphs: image → standardised feature maps."""
