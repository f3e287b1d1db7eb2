"""From a trained model to a verified bundle of ONNX graphs, and the Python face of that bundle."""
