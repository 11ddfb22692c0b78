"""Exported files: a file per format, which writes and opens it, and what they share."""
