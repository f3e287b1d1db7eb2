"""The bundle: its format, references to it, and its model card."""
