"""Sources of a prediction: what `source=` may be, and how it is read.

`load.py` is the table of kinds; `source.py` reads files one after another, `live.py` live streams.
"""

from ultralytics.engine.sources.item import SourceItem, is_video
from ultralytics.engine.sources.live import LiveSource
from ultralytics.engine.sources.load import load_source
from ultralytics.engine.sources.source import Source

__all__ = ["LiveSource", "Source", "SourceItem", "is_video", "load_source"]
