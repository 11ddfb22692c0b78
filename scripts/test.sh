#!/usr/bin/env bash
# Run the quick tests, or with arguments whatever pytest is told: bash scripts/test.sh -m "slow or not slow" tests/nn
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment requirements-dev.txt
cd "$ROOT"
unset PYTHONDONTWRITEBYTECODE # else each of the processes that tests start compiles the package anew
if [ $# -eq 0 ]; then
    set -- -m "not slow and not gpu" -n 2 --dist loadfile
fi
exec "$PY" -m pytest "$@"
