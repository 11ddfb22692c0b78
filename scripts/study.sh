#!/usr/bin/env bash
# Run a study, or go on with one. Arguments are those of `python -m ultralytics study`:
#   bash scripts/study.sh cfg=cfg/studies/bccd-placements.yaml jobs=2
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics study "$@"
