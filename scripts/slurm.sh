#!/usr/bin/env bash
# Training on several machines under SLURM:
#
#   sbatch --nodes=2 --gpus-per-node=8 scripts/slurm.sh model=yolov8n-fla-sppf.yaml data=data/mine/data.yaml batch=512 name=mine
#
# One torchrun per machine. Two minutes before its time is up the run saves and leaves; the same command, or SLURM itself after a pre-emption
# or the loss of a machine, goes on where it was: `resume=auto`, which needs a `name`. The run's folder must be on a disk that all machines see.
#SBATCH --job-name=ultralytics
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output=slurm-%j.out
set -euo pipefail

if [ "$#" -eq 0 ] || [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 0
fi
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "error: this is a script for sbatch; on a single machine: scripts/train.sh … device=0,1" >&2
    exit 2
fi

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

srun --kill-on-bad-exit=1 "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="$SLURM_NNODES" \
    --nproc_per_node="${SLURM_GPUS_ON_NODE:-gpu}" \
    --rdzv_backend=c10d \
    --rdzv_endpoint="$head:${MASTER_PORT:-29500}" \
    --rdzv_id="$SLURM_JOB_ID" \
    --max-restarts=3 \
    -m ultralytics train "$@" resume=auto
