#!/usr/bin/env bash
# Train. Without arguments: YOLOv8n-FLA on the embedded shapes. Arguments are those of `python -m ultralytics train`:
#   bash scripts/train.sh model=yolov8n-fla.yaml data=data/bccd.yaml epochs=100 imgsz=640 device=0
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment

shapes=true quickstart=true
for word in "$@"; do
    case "$word" in
        -h | --help | help) exec "$PY" -m ultralytics train --help ;;
        data=*shapes.yaml) quickstart=false ;;
        data=* | resume=*) shapes=false quickstart=false ;;
        cfg=*quickstart.yaml) quickstart=false ;;
        model=* | cfg=*) quickstart=false shapes=false ;;
    esac
done
if $quickstart; then
    set -- cfg="$ROOT/cfg/recipes/quickstart.yaml" "$@"
fi
if $shapes || $quickstart || [[ " $* " == *shapes.yaml* ]]; then
    "$PY" -m ultralytics prepare shapes out="$ROOT/data/shapes" >/dev/null
fi
exec "$PY" -m ultralytics train "$@"
