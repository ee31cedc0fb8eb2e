#!/bin/sh
# All of a short loan of a GPU: check captured steps, then make the missing runs of the budget "paper".
#
#     sh tests/gpu_run.sh OUT 8                      # of all tables, for 8 minutes
#     sh tests/gpu_run.sh OUT 8 ygan-1 agad-1        # of these, for 8 minutes each
#
# Start it in a checkout whose folder data/ has the data sets. The records are written into OUT/data/results as the
# runs end, so that a machine that is taken away loses nothing that was in OUT. Nothing has to be installed but
# PyTorch and minigan's other dependencies. Bring OUT/data/results back into data/results.
set -u
out=${1:?expected a folder for the outputs} minutes=${2:?expected the minutes for each table}
shift 2
python=${PYTHON:-python}
mkdir -p "$out/data/results"
out=$(cd "$out" && pwd)
for file in data/*; do
    case ${file##*/} in
        results | claims | cache) ;;
        *) ln -sf "$PWD/$file" "$out/data/" ;;
    esac
done
cp data/results/*.csv "$out/data/results/"
export MINIGAN_DATA="$out/data" PYTHONPATH="$PWD" PYTHONUNBUFFERED=1

"$python" tests/gpu_check.py --out "$out" > "$out/gpu_check.txt" 2>&1
checked=$?
cat "$out/gpu_check.txt"
[ "$checked" -eq 2 ] && exit 2 # no GPU

[ "$#" -gt 0 ] || set -- --next
for table in "$@"; do
    "$python" -m minigan reproduce "$table" --budget paper --minutes "$minutes" 2>&1 | tee -a "$out/runs.txt"
done
# States of trainings that were stopped are too large to bring back.
[ -n "${KEEP_STATES:-}" ] || rm -rf "$out/data/claims"
for file in "$out"/data/results/*.csv; do
    cmp -s "$file" "data/results/${file##*/}" || echo "new records: $file"
done
