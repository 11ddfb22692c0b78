#!/usr/bin/env bash
# Time the kernels of linear attention one by one on a card; see docs/kernels.md.
#   bash scripts/fla_sweep.sh [seconds=30 kind=focused key=value …]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" "$ROOT/scripts/fla_sweep.py" "$@"
