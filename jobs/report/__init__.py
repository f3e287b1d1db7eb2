"""Reports: self-contained HTML pages of figures, charts and images."""
