#!/usr/bin/env bash
# Time this project, one JSON line per measurement; see docs/benchmarks.md.
#   bash scripts/benchmark.sh step|loader|val key=value …
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" "$ROOT/scripts/benchmark.py" "$@"
