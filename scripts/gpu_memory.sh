#!/usr/bin/env bash
# Count what a training step holds on a GPU, without one, and print the largest batch by card; see docs/gpu.md.
#   bash scripts/gpu_memory.sh [models=yolov8n,my.yaml imgsz=640,1280 key=value …]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" "$ROOT/scripts/gpu_memory.py" "$@"
