#!/usr/bin/env bash
# Draw what a detector's output rests on. Arguments are those of `python -m ultralytics explain`:
#   bash scripts/explain.sh model=runs/detect/train/weights/best.pt source=images/ kind=cam
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics explain "$@"
