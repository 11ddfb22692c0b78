#!/usr/bin/env bash
# Detect. Arguments are those of `python -m ultralytics predict`:
#   bash scripts/predict.sh model=runs/detect/train/weights/best.pt source=images/
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics predict "$@"
