#!/usr/bin/env bash
# Follow objects through videos. Arguments are those of `python -m ultralytics track`:
#   bash scripts/track.sh model=runs/detect/train/weights/best.pt source=video.mp4
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics track "$@"
