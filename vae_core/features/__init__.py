"""From an image to the feature maps that a model of features is trained on."""
