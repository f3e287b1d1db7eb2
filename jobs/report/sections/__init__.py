"""The sections of a report: each function turns results into blocks."""
