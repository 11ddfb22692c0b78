"""The reference's names for its service."""

from ultralytics.utils.lazy import later

_LOCAL = "nothing is uploaded: runs lie in runs/detect"
_NAMES = """HUB_API_ROOT HUB_WEB_ROOT HUBModelError HUBTrainingSession PREFIX check_dataset events export_fmts_hub
export_model get_export login logout reset_model"""
__getattr__ = later(
    __name__,
    {name: f"ultralytics.utils:{name}" for name in ("LOGGER", "SETTINGS")},
    dict.fromkeys(_NAMES.split(), _LOCAL),
)
