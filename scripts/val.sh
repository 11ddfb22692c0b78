#!/usr/bin/env bash
# Validate. Arguments are those of `python -m ultralytics val`:
#   bash scripts/val.sh model=runs/detect/train/weights/best.pt data=data/shapes.yaml
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics val "$@"
