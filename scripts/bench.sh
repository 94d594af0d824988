#!/usr/bin/env bash
# Runs all parts of the benchmark one after the other and writes a page of the results. Usage: scripts/bench.sh VENV quick|full
# Ctrl-C ends the whole run and keeps what was measured. After a part fails, the next parts still run.
set -uo pipefail
cd "$(dirname "$0")/.."
venv=$1 form=$2
interrupted=130

case $form in
quick)
    folder=build/bench page=build/bench/RESULTS.md
    parts=(
        "compare: compare --quick"
        "scaling: scaling --quick"
        "start: start --starts 5"
        "recovery: recovery --starts 1 --log-bytes 200000000"
        "tune: tune --budget 15 --duration 0.5"
    )
    ;;
full)
    folder=bench/results page=bench/RESULTS.md
    parts=(
        "compare: compare"
        "scaling: scaling"
        "start: start --starts 20"
        "start-kafka: start --starts 3 --broker apache-kafka"
        "recovery: recovery"
        "tune: tune --budget 150 --duration 1"
        "tune-kafka: tune --budget 150 --duration 1 --broker apache-kafka"
    )
    ;;
*)
    echo "usage: scripts/bench.sh VENV quick|full" >&2
    exit 2
    ;;
esac

mkdir -p "$folder"
trap : INT # the running part gets the signal as well and writes its results
status=0 done=()
for part in "${parts[@]}"; do
    read -r -a words <<<"${part#*:}"
    file=$folder/${part%%:*}.json
    echo "kafka-cy bench ${words[*]}" >&2
    "$venv/bin/kafka-cy" bench "${words[@]}" --json "$file"
    code=$?
    [ "$code" = 0 ] || status=$code
    [ "$code" = "$interrupted" ] && break
    done+=("$file")
done
if [ ${#done[@]} = ${#parts[@]} ]; then # other files come from earlier versions with other parts
    for file in "$folder"/*.json; do
        [[ " ${done[*]} " == *" $file "* ]] || rm "$file"
    done
fi
"$venv/bin/python" -m kafka_cy.bench.report_text "$folder"/*.json >"$page.new" && mv "$page.new" "$page"
echo "Results: $page" >&2
exit "$status"
