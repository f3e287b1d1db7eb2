"""A VAE over the maps of a fixed feature extractor."""
