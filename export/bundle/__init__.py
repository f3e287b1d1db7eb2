"""The bundle: its format, its reference and its model card."""
