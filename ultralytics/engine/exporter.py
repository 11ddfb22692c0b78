"""The reference's names for export."""

from ultralytics.utils.lazy import later

_EXPORT = "`export-weights` writes weights that ultralytics 8.2.103 reads and exports"
_NAMES = ("Exporter", "IOSDetectModel", "export_formats", "gd_outputs", "try_export")
__getattr__ = later(__name__, {"TASK2DATA": "ultralytics.cfg.reference:TASK2DATA"}, dict.fromkeys(_NAMES, _EXPORT))
TORCH_1_13 = True
