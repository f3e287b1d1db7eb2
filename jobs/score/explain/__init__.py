"""Why the most outlying images of a scoring job were flagged."""
