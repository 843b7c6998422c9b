#!/usr/bin/env bash
# Tries, measures and accepts the CUDA kernels on the GPU of this machine, in less than ten minutes:
#
#   tools/gpu_accept.sh [--seconds N] [--out FOLDER] [--stages "A B ..."] [--python PYTHON] [--dry-run]
#   tools/gpu_accept.sh --peer-map     what PyTorch alone needs: no kernel of ours is built or run
#
# All stages together take at most N seconds (default: 560), and each has a limit of its own:
#   environment  versions, GPU, driver
#   build        torchconv._C_cuda, only where it does not load or is of other sources
#   smoke        every kernel once, each in a process of its own: smoke.csv
#   tests        tests/cuda/gpu for every algorithm apart, in processes of their own: tests.csv
#   sanitizer    compute-sanitizer on a few small cases, where it works
#   benchmark    beside nn.Conv2d, the depthwise layers first: benchmark.csv
#   accept       what passed and is faster: gpu_accepted.json, copied to torchconv/, and the figures
#                to benchmarks/results/
# FOLDER (default: runs/gpu_accept) gets all of it and log.txt. Rows are written as they are measured.
# A stage that fails or runs out of time does not stop the others. Run it again with the same FOLDER,
# with some of the stages if you like, and the benchmark goes on where it ended; `python -m
# tools.accept FOLDER` accepts later and elsewhere, too.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

out=runs/gpu_accept python=${PYTHON:-python3} dry_run=0 peer_map=0 seconds=560
stages="environment build smoke tests sanitizer benchmark accept"
[[ -x .venv/bin/python && -z ${PYTHON:-} ]] && python=.venv/bin/python
while (($#)); do
    case $1 in
        --out | --python | --stages | --seconds)
            (($# > 1)) || { echo "gpu_accept.sh: $1 needs a value" >&2; exit 2; }
            declare "${1#--}=$2"
            shift
            ;;
        --dry-run) dry_run=1 ;;
        --peer-map) peer_map=1 ;;
        -h | --help) usage; exit 0 ;;
        *) echo "gpu_accept.sh: unknown argument $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
((peer_map)) && stages="environment peers"
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "gpu_accept.sh: --seconds needs a number" >&2; exit 2; }
for stage in $stages; do
    [[ " environment build smoke tests sanitizer benchmark accept peers " == *" $stage "* ]] ||
        { echo "gpu_accept.sh: there is no stage $stage" >&2; exit 2; }
done

# Percent of all seconds that a stage gets at most; the benchmark takes what the others have left.
declare -A percent=([environment]=12 [build]=50 [smoke]=20 [tests]=36 [sanitizer]=16
    [benchmark]=100 [accept]=5 [peers]=100)
declare -A command=(
    [environment]="$python -m tools.gpu_environment"
    [build]="tools/gpu_build.sh $python"
    [smoke]="$python -m tools.gpu_smoke --seconds BUDGET --csv $out/smoke.csv"
    [tests]="$python -m tools.gpu_tests --seconds BUDGET --csv $out/tests.csv"
    [sanitizer]="tools/gpu_sanitize.sh $python"
    [benchmark]="$python -m benchmarks.cuda --budget BUDGET --csv $out/benchmark.csv"
    [accept]="$python -m tools.accept $out --file $out/gpu_accepted.json"
    [peers]="$python -m benchmarks.cuda.peers --budget BUDGET --csv $out/peers.csv"
)
declare -A result=()
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# The seconds of a stage: its percentage, or what is left, less what the acceptance needs. A dry run uses none.
limit_of() {
    local most=$((seconds * percent[$1] / 100)) left=$((seconds - (dry_run ? 0 : SECONDS)))
    [[ $1 != accept && " $stages " == *" accept "* ]] && left=$((left - seconds * percent[accept] / 100))
    ((most < left)) || most=$left
    echo $((most > 1 ? most : 1))
}

run_stage() {
    local stage=$1 start=$SECONDS limit budget words code
    limit=$(limit_of "$stage")
    budget=$((limit > 40 ? limit - 20 : (limit + 1) / 2)) # starting and ending takes the rest
    words=${command[$stage]/BUDGET/$budget}
    if ((dry_run)); then
        printf '%-12s at most %3d s: %s\n' "$stage" "$limit" "$words"
        return
    fi
    # shellcheck disable=SC2086
    { echo "== $stage (at most $limit s)"; timeout --kill-after=5 "$limit" $words; } 2>&1 |
        tee -a "$out/log.txt"
    code=${PIPESTATUS[0]}
    case $code in
        0) result[$stage]=passed ;;
        77) result[$stage]=skipped ;;
        124 | 137) result[$stage]="out of time" ;;
        *) result[$stage]="failed ($code)" ;;
    esac
    result[$stage]+=", $((SECONDS - start)) s"
}

# Copies a file of $out to where the repository keeps it, if it can be written there.
publish() {
    cp "$out/$1" "$2" && echo "wrote $2"
}

if ! ((dry_run)); then
    mkdir -p "$out" || exit 2
fi
for stage in $stages; do
    if [[ $stage == accept ]] && ! ((dry_run)); then
        cp torchconv/gpu_accepted.json "$out/gpu_accepted.json"
    fi
    run_stage "$stage"
    ((dry_run)) && continue
    if [[ $stage == accept && ${result[accept]} == passed* ]]; then
        publish gpu_accepted.json torchconv/gpu_accepted.json
        name=$("$python" -c "from benchmarks.cuda.machine import slug; print(slug())") &&
            publish benchmark.csv "benchmarks/results/cuda-$name.csv"
    fi
    if [[ $stage == peers && -e $out/peers.csv ]]; then
        name=$("$python" -c "from benchmarks.cuda.machine import slug; print(slug())") &&
            publish peers.csv "benchmarks/results/cuda-peers-$name.csv"
    fi
done
((dry_run)) && exit 0

failed=0
{
    echo
    for stage in $stages; do
        printf '%-12s %s\n' "$stage" "${result[$stage]}"
    done
} | tee -a "$out/log.txt"
for stage in $stages; do
    [[ ${result[$stage]} == passed* || ${result[$stage]} == skipped,* ]] || failed=1
done
exit "$failed"
