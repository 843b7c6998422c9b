#!/usr/bin/env bash
# Accepts the CUDA kernels on the GPU of this machine, in less than nine minutes:
#
#   tools/gpu_accept.sh [--out FOLDER] [--python PYTHON] [--stages "A B ..."] [--dry-run]
#   tools/gpu_accept.sh --peer-map     what PyTorch alone needs: no kernel of ours is built or run
#
# Stages, each with a time limit of its own and a log in FOLDER (default: runs/gpu_accept):
#   environment  versions, GPU, driver
#   build        torchconv._C_cuda, only where it does not load
#   tests        tests/cuda: float64, poisoned memory, same bits, streams, graphs, 2^31 elements
#   sanitizer    compute-sanitizer on a few small cases, where it works
#   benchmark    beside nn.Conv2d and the fastest of PyTorch's ways; CSV into benchmarks/results
#   accept       torchconv/gpu_accepted.json, only after tests and benchmark have passed
# All but the build share 530 seconds. A stage that fails or runs out of time does not stop the ones
# that need nothing of it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

out=runs/gpu_accept python=${PYTHON:-python3} dry_run=0 peer_map=0
stages="environment build tests sanitizer benchmark accept"
[[ -x .venv/bin/python && -z ${PYTHON:-} ]] && python=.venv/bin/python
while (($#)); do
    case $1 in
        --out | --python | --stages)
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
for stage in $stages; do
    [[ " environment build tests sanitizer benchmark accept peers " == *" $stage "* ]] ||
        { echo "gpu_accept.sh: there is no stage $stage" >&2; exit 2; }
done

# Seconds. A stage gets less where the ones before it, build aside, have left less of the total.
total=530
declare -A limit=([environment]=90 [build]=300 [tests]=240 [sanitizer]=90 [benchmark]=200
    [accept]=20 [peers]=480)
declare -A command=(
    [environment]="$python -m tools.gpu_environment"
    [build]="tools/gpu_build.sh $python"
    [tests]="$python -m pytest tests/cuda -m cuda -q -p no:cacheprovider --maxfail=30 --tb=short --durations=15"
    [sanitizer]="tools/gpu_sanitize.sh $python"
    [benchmark]="$python -m benchmarks.cuda --budget BUDGET --csv $out/benchmark.csv"
    [accept]="$python -m tools.accept $out/benchmark.csv"
    [peers]="$python -m benchmarks.cuda_peers --budget BUDGET --csv $out/peers.csv"
)
declare -A result=()

run_stage() {
    local stage=$1 start=$SECONDS seconds=${limit[$1]} left=$total budget
    [[ $stage == accept ]] || left=$((left - ${limit[accept]}))
    [[ $stage == build ]] || ((seconds < left)) || seconds=$((left > 1 ? left : 1))
    budget=$((seconds > 50 ? seconds - 40 : 10)) # what starts the program or ends it takes the rest
    local words=${command[$stage]/BUDGET/$budget}
    if ((dry_run)); then
        printf '%-12s at most %3d s: %s\n' "$stage" "$seconds" "$words"
        return
    fi
    echo "== $stage (at most $seconds s)"
    # shellcheck disable=SC2086
    timeout --kill-after=10 "$seconds" $words 2>&1 | tee "$out/$stage.log"
    local code=${PIPESTATUS[0]}
    case $code in
        0) result[$stage]=passed ;;
        77) result[$stage]="skipped" ;;
        124 | 137) result[$stage]="out of time" ;;
        *) result[$stage]="failed ($code)" ;;
    esac
    result[$stage]+=", $((SECONDS - start)) s"
    [[ $stage == build ]] || total=$((total - SECONDS + start))
}

# Copies a CSV of $out to where the repository keeps them.
publish() {
    local name
    name=$("$python" -c "from benchmarks.cuda_peers import environment; print(environment())")
    cp "$out/$1" "benchmarks/results/$2-$name.csv" && echo "wrote benchmarks/results/$2-$name.csv"
}

((dry_run)) || mkdir -p "$out"
for stage in $stages; do
    if [[ $stage == accept ]] && ! ((dry_run)); then
        if [[ ${result[tests]:-} != passed* || ${result[benchmark]:-} != passed* ]]; then
            result[accept]="skipped: it needs tests and benchmark passed in the same run"
            continue
        fi
        publish benchmark.csv cuda
    fi
    run_stage "$stage"
    if [[ $stage == peers && -e $out/peers.csv ]] && ! ((dry_run)); then
        publish peers.csv cuda-peers
    fi
done
((dry_run)) && exit 0

echo
failed=0
for stage in $stages; do
    printf '%-12s %s\n' "$stage" "${result[$stage]}"
    [[ ${result[$stage]} == passed* || ${result[$stage]} == skipped,* ]] || failed=1
done
[[ -e torchconv/gpu_accepted.json ]] && cp torchconv/gpu_accepted.json "$out"
exit "$failed"
