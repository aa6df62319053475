#!/usr/bin/env bash
# One share of the patients per task of a job array, then one job that joins the shares:
#
#     array=$(sbatch --parsable --array=0-15 slurm_array.sh 16 preprocess dlcs out --spacing native)
#     sbatch --dependency=afterok:$array --wrap "lungct merge out.shard-* out"
#
# The number of shares is said once more beside the array, so that a single task can be run again (--array=7).
# Every task of one array needs the same LUNGCT_PSEUDONYM_KEY.
#SBATCH --job-name=lungct
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --requeue
set -euo pipefail

shares=$1 verb=$2 source=$3 out=$4
shift 4
mine=$out.shard-$SLURM_ARRAY_TASK_ID

# An output is there as a whole or not at all, so a task that has one is done.
[ -f "$mine/manifest.ndjson" ] && exit

exec lungct "$verb" "$source" "$mine" "$@" \
    --shard "$SLURM_ARRAY_TASK_ID/$shares" --workers "${SLURM_CPUS_PER_TASK:-0}" --resume
