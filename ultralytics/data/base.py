"""The reference's name for what its datasets share."""

from ultralytics.utils.lazy import later

_NAMES = ("FORMATS_HELP_MSG", "HELP_URL", "IMG_FORMATS")
__getattr__ = later(
    __name__,
    {name: f"ultralytics.data.utils:{name}" for name in _NAMES},
    {"BaseDataset": "data.dataset.YOLODataset reads images and boxes"},
)
