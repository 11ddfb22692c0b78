#!/usr/bin/env bash
# Measure on a GPU all that matters here, within the given minutes; see docs/gpu-day.md.
#   bash scripts/gpu_day.sh OUT [minutes=10 parts=step,fla data=DATA.yaml key=value …]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" "$ROOT/scripts/gpu_day.py" "$@"
