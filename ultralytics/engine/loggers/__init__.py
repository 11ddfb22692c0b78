"""Loggers: where the figures of a run go besides its folder; see docs/loggers.md."""
