"""What a user can set."""

from ultralytics.cfg.config import get_cfg

__all__ = ["get_cfg"]
