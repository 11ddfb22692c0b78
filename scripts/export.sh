#!/usr/bin/env bash
# Write a network for another runtime. Arguments are those of `python -m ultralytics export`:
#   bash scripts/export.sh model=runs/detect/train/weights/best.pt format=onnx dynamic=True
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics export "$@"
