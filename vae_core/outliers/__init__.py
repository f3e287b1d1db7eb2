"""From statistics to an outlier score."""
