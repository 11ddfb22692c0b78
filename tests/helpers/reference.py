"""Keys and defaults of ultralytics 8.2.103, as its default.yaml has them."""

from pathlib import Path

import yaml

REFERENCE_DEFAULTS = yaml.safe_load(
    (Path(__file__).parents[1] / "cfg" / "reference_defaults.yaml").read_text(encoding="utf-8")
)
