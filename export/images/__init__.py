"""From a picture of any kind to the images that a model accepts: headers, decoders, conversion."""
