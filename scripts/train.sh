#!/usr/bin/env bash
# Train. Without arguments: YOLOv8n-FLA on the embedded shapes. Arguments are those of `python -m ultralytics train`:
#   bash scripts/train.sh model=yolov8n-fla.yaml data=data/bccd.yaml epochs=100 imgsz=640 device=0
#   bash scripts/train.sh task=segment   # or pose, obb, classify: a first run of that task, on the same drawing
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment

# The embedded dataset and the network of each task, for a first run
task='' suffix='' network='' recipe=quickstart
for word in "$@"; do
    case "$word" in
        task=segment) task=segment suffix=-seg network=yolov8n-seg.yaml ;;
        task=pose) task=pose suffix=-pose network=yolov8n-pose.yaml ;;
        task=obb) task=obb suffix=-obb network=yolov8n-obb.yaml ;;
        task=classify) task=classify suffix=-cls network=yolov8n-cls.yaml recipe=quickstart-cls ;;
    esac
done

shapes=true quickstart=true
for word in "$@"; do
    case "$word" in
        -h | --help | help) exec "$PY" -m ultralytics train --help ;;
        data=*shapes.yaml) quickstart=false ;;
        data=*shapes-seg.yaml) quickstart=false task=segment suffix=-seg ;;
        data=*shapes-pose.yaml) quickstart=false task=pose suffix=-pose ;;
        data=*shapes-obb.yaml) quickstart=false task=obb suffix=-obb ;;
        data=*shapes-cls.yaml) quickstart=false task=classify suffix=-cls ;;
        data=* | resume=*) shapes=false quickstart=false ;;
        cfg=*quickstart.yaml) quickstart=false ;;
        cfg=*quickstart-cls.yaml) quickstart=false task=classify suffix=-cls ;;
        model=* | cfg=*) quickstart=false shapes=false ;;
    esac
done
if $quickstart; then
    if [[ -n $task ]]; then set -- model="$network" data="shapes$suffix.yaml" "$@"; fi
    set -- cfg="$ROOT/cfg/recipes/$recipe.yaml" "$@"
fi
if $shapes || $quickstart || [[ " $* " == *shapes.yaml* ]]; then
    "$PY" -m ultralytics prepare shapes ${task:+task="$task"} out="$ROOT/data/shapes$suffix" >/dev/null
fi
exec "$PY" -m ultralytics train "$@"
