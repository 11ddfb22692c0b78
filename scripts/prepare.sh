#!/usr/bin/env bash
# Make a data set ready. Without arguments: the embedded shapes. Arguments are those of `python -m ultralytics prepare`:
#   bash scripts/prepare.sh voc download=True
#   bash scripts/prepare.sh coco source=~/downloads/coco
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment
exec "$PY" -m ultralytics prepare "${@:-shapes}"
