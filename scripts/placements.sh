#!/usr/bin/env bash
# Compare placements of the attention with plain YOLOv8, several seeds each; see scripts/placements.py for the options.
#   bash scripts/placements.sh data=data/bccd.yaml weights=yolov8n.pt
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" "$ROOT/scripts/placements.py" "$@"
