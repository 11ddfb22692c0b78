"""The commands: what is imported here is there, and `--help` lists it in this order."""

from ultralytics.cli.commands import runs, models, data, prepare, studies, tracks, tunes  # isort: skip

__all__ = ["data", "models", "prepare", "runs", "studies", "tracks", "tunes"]
