"""The demo's images; see README.md."""
