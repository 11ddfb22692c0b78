#!/usr/bin/env bash
# Train. Without arguments: YOLOv8n-FLA on the embedded shapes. Arguments are those of `python -m ultralytics train`:
#   bash scripts/train.sh model=yolov8n-fla.yaml data=data/bccd.yaml epochs=100 imgsz=640 device=0
#   bash scripts/train.sh task=segment   # or pose, obb, classify: a first run of that task, on the same drawing
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment

# The task of an embedded dataset, by its suffix: shapes-seg.yaml says it; that of shapes.yaml is the default.
task_of() { sed -n 's/^task: *//p' "$ROOT/data/shapes$1.yaml" 2>/dev/null || true; }

# The embedded dataset of a task, for a first run
task='' suffix=''
for word in "$@"; do
    [[ $word == task=?* ]] || continue
    for file in "$ROOT"/data/shapes-*.yaml; do
        found=$(basename "$file" .yaml)
        if [[ $(task_of "${found#shapes}") == "${word#task=}" ]]; then task=${word#task=} suffix=${found#shapes}; fi
    done
done

shapes=true quickstart=true
for word in "$@"; do
    case "$word" in
        -h | --help | help) exec "$PY" -m ultralytics train --help ;;
        data=*shapes.yaml) quickstart=false ;;
        data=*shapes-*.yaml)
            quickstart=false found=$(basename "${word#data=}" .yaml)
            task=$(task_of "${found#shapes}") suffix=${found#shapes}
            if [[ -z $task ]]; then shapes=false; fi
            ;;
        data=* | resume=*) shapes=false quickstart=false ;;
        cfg=*quickstart.yaml) quickstart=false ;;
        cfg=*quickstart-*.yaml)
            quickstart=false found=$(basename "${word#cfg=}" .yaml)
            suffix=${found#quickstart} task=$(task_of "${found#quickstart}")
            ;;
        model=* | cfg=*) quickstart=false shapes=false ;;
    esac
done
if $quickstart; then
    # A task may have a recipe of its own.
    recipe="$ROOT/cfg/recipes/quickstart$suffix.yaml"
    [[ -f $recipe ]] || recipe="$ROOT/cfg/recipes/quickstart.yaml"
    if [[ -n $task ]]; then set -- model="yolov8n$suffix.yaml" data="shapes$suffix.yaml" "$@"; fi
    set -- cfg="$recipe" "$@"
fi
if $shapes || $quickstart || [[ " $* " == *shapes.yaml* ]]; then
    "$PY" -m ultralytics prepare shapes ${task:+task="$task"} out="$ROOT/data/shapes$suffix" >/dev/null
fi
exec "$PY" -m ultralytics train "$@"
