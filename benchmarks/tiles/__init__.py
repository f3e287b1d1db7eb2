"""Large images with small defects, by tiles."""
