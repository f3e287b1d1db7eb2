"""The sections of a report: each takes figures and gives blocks."""
