#!/usr/bin/env bash
# Every check and benchmark that takes longer than .ci/run may: real scans, the benches with their scorers, poses, speed.
#
#     bash benchmarks/full_check.sh                        all of it, some hours on 2 cores; outputs under runs/full_check
#     bash benchmarks/full_check.sh scans depth            these steps alone
#
# Steps: same scans more depth sequences expressions cases kills landmarks rotations pairs speed. Variables: OUT (outputs; a run that is
# there is resumed, so give a new folder after a change of the code), SHARED (the developers' folder of scans and benches, which is
# not part of the project; ../shared), PAIRS (a training set with a test split; runs/pairs), ROTATIONS (200), PYTHON (python).
# What needs something that is not there is skipped, and says what. A table of all steps ends it; the exit code is 1 where one failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT=${OUT:-runs/full_check} SHARED=${SHARED:-../shared} PAIRS=${PAIRS:-runs/pairs} PYTHON=${PYTHON:-python}
ALL=(same scans more depth sequences expressions cases kills landmarks rotations pairs speed)
STEPS=("$@")
[ $# -gt 0 ] || STEPS=("${ALL[@]}")
TABLE=() FAILED=0

# check NAME COMMAND…: prints and runs a command; notes its time and how it ended.
check() {
    local name=$1 start=$SECONDS code=0
    shift
    printf '\n== %s\n$ %s\n' "$name" "$*"
    "$@" || code=$?
    if [ "$code" -eq 0 ]; then
        TABLE+=("$(printf '%-44s %6d s  passed' "$name" $((SECONDS - start)))")
    else
        TABLE+=("$(printf '%-44s %6d s  FAILED, exit code %d' "$name" $((SECONDS - start)) "$code")")
        FAILED=1
    fi
    return "$code"
}

# present NAME PATH…: whether what a step needs is there; if not, notes that it was skipped.
present() {
    local name=$1 path
    shift
    for path in "$@"; do
        if [ ! -e "$path" ]; then
            printf '\n== %s: skipped, there is no %s\n' "$name" "$path"
            TABLE+=("$(printf '%-44s %6s    skipped: no %s' "$name" "" "$path")")
            return 1
        fi
    done
}

# job NAME INPUT OUTPUT OPTION…: the main job. Its exit code 3 (some scans failed) is a failure here: all these inputs can be read.
job() { check "$1" "$PYTHON" -m pipeline.run --input "$2" --output "$3" "${@:4}"; }

same() {
    job "examples, one worker" examples/scans "$OUT/examples_1" --workers 1 --force || return
    job "examples, two workers" examples/scans "$OUT/examples_2" --workers 2 --force || return
    check "the same files from both" "$PYTHON" benchmarks/same_outputs.py "$OUT/examples_1" "$OUT/examples_2"
}

scans() {
    present "real scans" "$SHARED/scans" || return
    job "real scans" "$SHARED/scans" "$OUT/scans" || return
    present "scores of the meshes" "$SHARED/bench/score.py" "$SHARED/bench/score_correspondence.py" || return
    check "scores of the meshes" "$PYTHON" "$SHARED/bench/score.py" meshes "$OUT/scans"
    check "dense correspondence" "$PYTHON" "$SHARED/bench/score_correspondence.py" "$OUT/scans"
    check "mannequin, refined surfaces" "$PYTHON" benchmarks/mannequin.py "$OUT/scans" --scans "$SHARED/scans/truedepth_mannequin"
    check "mannequin, identity shapes" "$PYTHON" benchmarks/identity_spread.py "$OUT/scans" --sources '*mannequin/frame-*.png'
    check "how clean the surfaces are" "$PYTHON" benchmarks/surface_quality.py "$OUT/scans" --scans "$SHARED/scans"
    check "cropped scans" "$PYTHON" benchmarks/cropped_scans.py --scans "$SHARED/scans"
    check "halved scans" "$PYTHON" benchmarks/halved_scans.py --scans "$SHARED/scans"
    job "real scans, landmarks alone" "$SHARED/scans" "$OUT/landmarks" --stages landmarks
}

more() {
    present "more scans" "$SHARED/more_scans" || return
    job "more scans" "$SHARED/more_scans" "$OUT/more_scans" || return
    check "expressions of one person" "$PYTHON" benchmarks/expression_correspondence.py "$OUT/more_scans" --shared "$SHARED"
}

depth() {
    present "depth images" "$SHARED/bench/depth" "$SHARED/bench/score.py" || return
    check "depth images: gan, smooth, none" \
        "$PYTHON" benchmarks/bench.py --work "$OUT/bench" --shared "$SHARED" --sets depth --refine gan smooth none
    present "meshes, ICT model" "$SHARED/models/ict_facekit_light.npz" "$SHARED/scans" || return
    check "meshes, ICT model" \
        "$PYTHON" benchmarks/bench.py --work "$OUT/bench" --shared "$SHARED" --sets meshes --model "$SHARED/models/ict_facekit_light.npz"
}

scored() { # NAME FOLDER SCORER
    present "$1" "$SHARED/bench/$2" "$SHARED/bench/$3" || return
    job "$1" "$SHARED/bench/$2" "$OUT/$2" || return
    check "$1: scores" "$PYTHON" "$SHARED/bench/$3" "$OUT/$2"
}

sequences() { scored "sequences" sequences score_sequences.py; }

expressions() { scored "open mouths" expressions score_expressions.py; }

cases() {
    present "cases" "$SHARED/cases/run_cases.py" || return
    check "cases" "$PYTHON" "$SHARED/cases/run_cases.py" --project . --python "$(command -v "$PYTHON")"
}

kills() {
    check "runs that are killed" "$PYTHON" benchmarks/kill_runs.py
    check "memory over many scans" "$PYTHON" benchmarks/memory_growth.py
}

landmarks() {
    check "landmarks, simulated scans" "$PYTHON" benchmarks/landmarks.py --rows synthetic --count 100
    present "landmarks, real scans" "$SHARED/scans" "$SHARED/bench/depth" || return
    check "landmarks, real scans" "$PYTHON" benchmarks/landmarks.py --rows humface repeat topology start
}

rotations() {
    present "rotations" "$SHARED/scans" || return
    check "rotations" "$PYTHON" benchmarks/rotations.py --scans "$SHARED/scans" --count "${ROTATIONS:-200}"
}

pairs() {
    present "refiners on synthetic pairs" "$SHARED/bench/depth" "$PAIRS/card.json" || return
    check "refiners on synthetic pairs" "$PYTHON" benchmarks/refinement.py --work "$OUT/refinement" --shared "$SHARED" \
        --pairs "$PAIRS/test-*.tfrecord.gz" --weights default coarse
}

speed() {
    local inputs=(examples/scans)
    [ -e "$SHARED/bench/depth" ] && inputs=("$SHARED/bench/depth")
    check "speed of the whole job" "$PYTHON" benchmarks/job_speed.py "${inputs[0]}"
    check "speed of locating and fitting" "$PYTHON" benchmarks/fit_speed.py "${inputs[0]}"
}

for step in "${STEPS[@]}"; do
    [[ " ${ALL[*]} " == *" $step "* ]] || { echo "full_check.sh: no step $step; there are ${ALL[*]}" >&2; exit 2; }
done
for step in "${STEPS[@]}"; do
    "$step"
done

printf '\n== all steps\n'
printf '%s\n' "${TABLE[@]}"
exit "$FAILED"
