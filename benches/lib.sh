# shellcheck shell=bash
# What the benchmarks share: timing, figures, and the line that says whether one keeps its mark.

# Set to 1 once a figure misses its mark.
failed=0

# Microseconds that a command took; its stdout is dropped.
took() {
    local begun
    begun=$(date +%s%N)
    "$@" >/dev/null
    echo $((($(date +%s%N) - begun) / 1000))
}
median() {
    sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
ms() {
    awk -v us="$1" 'BEGIN { printf "%.1f ms", us / 1000 }'
}
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}
below() { # FIGURE MARK
    awk -v a="$1" -v b="$2" 'BEGIN { print a <= b }'
}
judge() { # WHAT FIGURE MARK HOLDS?
    local verdict=ok
    if [ "$4" -eq 0 ]; then
        verdict=MISSED
        # shellcheck disable=SC2034  # read by who sources this
        failed=1
    fi
    printf '%-52s %12s   %-12s %s\n' "$1" "$2" "$3" "$verdict"
}
