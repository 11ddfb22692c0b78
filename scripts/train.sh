#!/usr/bin/env bash
# Train. Without arguments: YOLOv8n-FLA on the embedded shapes. Arguments are those of `python -m ultralytics train`:
#   bash scripts/train.sh model=yolov8n-fla-sppf.yaml data=data/bccd.yaml epochs=100 imgsz=640 device=0
#   bash scripts/train.sh task=segment   # or pose, obb, classify: a first run of that task, on the same drawing
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
use_environment

# embedded SUFFIX: whether data/shapesSUFFIX.yaml is an embedded dataset: it says that it is drawn, and into a folder of its
# name. Sets `drawn` to its task, empty for the default.
made='prepare: python -m ultralytics prepare shapes'
embedded() {
    local file="$ROOT/data/shapes$1.yaml"
    grep -Eqs "^path: shapes$1([[:space:]]|\$)" "$file" || return 1
    drawn=$(grep -Es "^$made( task=[a-z]+)?[[:space:]]*\$" "$file") || return 1
    drawn=${drawn#"$made"} drawn=${drawn//[[:space:]]/} drawn=${drawn#task=}
}

# The embedded dataset of a task, for a first run
task='' suffix=''
for word in "$@"; do
    [[ $word == task=?* ]] || continue
    for file in "$ROOT"/data/shapes-*.yaml; do
        found=$(basename "$file" .yaml)
        if embedded "${found#shapes}" && [[ $drawn == "${word#task=}" ]]; then
            task=$drawn suffix=${found#shapes}
            break
        fi
    done
done

shapes=true quickstart=true named=false
for word in "$@"; do
    case "$word" in
        -h | --help | help) exec "$PY" -m ultralytics train --help ;;
        data=*)
            quickstart=false file=${word#data=} found=$(basename "${word#data=}" .yaml)
            # A file of this name elsewhere is the user's own.
            if [[ $file == *.yaml && $found == shapes* && (! -e $file || $file -ef "$ROOT/data/$found.yaml") ]] &&
                embedded "${found#shapes}"; then
                named=true task=$drawn suffix=${found#shapes}
            else
                shapes=false
            fi
            ;;
        resume=*) shapes=false quickstart=false ;;
        cfg=*quickstart.yaml) quickstart=false ;;
        cfg=*quickstart-*.yaml)
            quickstart=false found=$(basename "${word#cfg=}" .yaml)
            if embedded "${found#quickstart}"; then task=$drawn suffix=${found#quickstart}; else shapes=false; fi
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
if $shapes || $named; then
    "$PY" -m ultralytics prepare shapes ${task:+task="$task"} out="$ROOT/data/shapes$suffix" >/dev/null
fi
exec "$PY" -m ultralytics train "$@"
