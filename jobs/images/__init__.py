"""Images in any layout: found, cut into units of work, and read as uint8 batches."""
