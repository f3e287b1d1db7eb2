"""Input images in any layout: find them, split them into units of work, read them as uint8 batches."""
