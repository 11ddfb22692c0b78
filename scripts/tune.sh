#!/usr/bin/env bash
# Search the best settings of a training, or go on with a search. Arguments are those of `python -m ultralytics tune`:
#   bash scripts/tune.sh model=yolov8n-fla-sppf.yaml data=data/shapes.yaml optimizer=AdamW epochs=20 trials=30
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics tune "$@"
