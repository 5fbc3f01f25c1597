#!/usr/bin/env bash
# Hand the jobs of a recipe to Slurm: one Slurm job each, in the order of what they need.
#
#   recipes/cluster/slurm.sh recipe.yaml [--set PATH.TO.KEY=VALUE ...]
#
# The run's folder (`output:` in the recipe) must be on a file system that all nodes see. Options for every Slurm job come
# from SBATCH_OPTIONS, those for jobs with a GPU from SBATCH_GPU_OPTIONS. Run it again after a failure: jobs that are done
# are left out, begun ones go on where they were. DRY_RUN=1 prints the sbatch commands instead.
#
# Jobs that load a model ask for one GPU each; without GPUs add `--set runtime.device=cpu`. A job uses all the cores it gets
# where `runtime.threads` is 0: say how many with SBATCH_OPTIONS=--cpus-per-task=N, or set `runtime.threads`.
set -euo pipefail

fusionchat=${FUSIONCHAT:-fusionchat}
declare -A slurm_id=()
submitted=0

submit() {
  if [ -n "${DRY_RUN:-}" ]; then
    printf 'sbatch %s\n' "$*" >&2
    echo "$((submitted + 1))"
  else
    sbatch --parsable "$@" | cut -d';' -f1
  fi
}

plan=$("$fusionchat" plan "$@" --commands) # apart from the loop: a mistake in the recipe ends the script here
while IFS= read -r line; do
  [ -n "$line" ] || continue # everything is done
  command="$(printf '%q' "$fusionchat")${line#fusionchat}"
  command=${command%  # *}
  read -r job needs <<<"${line##*  # }"
  declare -A need=()
  for pair in $needs; do need[${pair%%=*}]=${pair#*=}; done

  # shellcheck disable=SC2206  # the options are words
  options=(--job-name="${job//\//-}" --output="slurm-%x-%j.log" ${SBATCH_OPTIONS:-})
  [ "${need[threads]}" = 0 ] || options+=(--cpus-per-task="${need[threads]}")
  [ "${need[memory]}" = 0 ] || options+=(--mem="${need[memory]}M")
  # shellcheck disable=SC2206
  [ "${need[gpus]}" = 0 ] || options+=(--gpus="${need[gpus]}" ${SBATCH_GPU_OPTIONS:-})
  if [ "${need[after]}" != - ]; then
    after=""
    for other in ${need[after]//,/ }; do after+=":${slurm_id[$other]}"; done
    options+=(--dependency="afterok$after" --kill-on-invalid-dep=yes)
  fi
  slurm_id[$job]=$(submit "${options[@]}" --wrap="$command")
  submitted=$((submitted + 1))
done <<<"$plan"

echo "$submitted jobs submitted"
