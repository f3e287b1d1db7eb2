"""From a trained model to a verified bundle of ONNX graphs, and the Python interface to that bundle."""
