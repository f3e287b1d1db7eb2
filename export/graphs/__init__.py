"""From a trained model to verified ONNX graphs."""
