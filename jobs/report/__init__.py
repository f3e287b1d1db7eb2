"""The report: one self-contained HTML page of figures, charts and pictures."""
