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

# Trees, images, and rows that compare in pairs.

# Makes so many files of one line, 1,000 a directory.
fill() { # DIRECTORY FILES
    mkdir -p "$1"
    (cd "$1" && seq "$2" | awk '{ d = int($1 / 1000); print "d" d "/f" $1 }' | while read -r name; do
        [ -d "${name%/*}" ] || mkdir "${name%/*}"
        echo "$name" >"$name"
    done)
}
# Makes an image in $work, which who sources this has made, and mounts it at $work/NAME.
# shellcheck disable=SC2154
filesystem() { # NAME KIND SIZE [MKFS OPTION...]
    truncate -s "$3" "$work/$1.img"
    "mkfs.$2" -q "${@:4}" "$work/$1.img" >/dev/null 2>&1
    mkdir "$work/$1"
    mount -o loop "$work/$1.img" "$work/$1"
}
# The caches hold what is to be read, and nothing waits to be written.
warm() { # DIRECTORY
    sync -f "$1"
    find "$1" -type f -exec cat {} + >/dev/null
}
# Appends to the file LOG the microseconds that a command took, and behind them those until its filesystem was synced.
timed() { # LOG DIRECTORY COMMAND...
    local begun ended
    begun=$(date +%s%N)
    "${@:3}" >/dev/null
    ended=$(date +%s%N)
    sync -f "$2"
    echo "$(((ended - begun) / 1000)) $((($(date +%s%N) - begun) / 1000))" >>"$1"
}
# The median of a column of what `timed` wrote: 1 the command, 2 with the sync.
column() { # LOG COLUMN
    awk -v column="$2" '{ print $column }' "$1" | median
}
heading() {
    printf '%-50s %11s %11s %7s   %-16s %s\n' "$1" ours peer ratio "at most" ""
}
row() { # WORK OURS PEER RATIO ATMOST HOLDS?
    local verdict=over
    case "$6" in
        1) verdict=ok ;;
        -) verdict=- ;;
        *)
            # shellcheck disable=SC2034  # read by who sources this
            failed=1
            ;;
    esac
    printf '%-50s %11s %11s %7s   %-16s %s\n' "$1" "$2" "$3" "$4" "$5" "$verdict"
}
# A row of two medians in microseconds; without a mark it is only told.
compare() { # WORK OURS PEER [ATMOST]
    local figure holds=-
    figure=$(ratio "$2" "$3")
    if [ $# -ge 4 ]; then
        holds=$(below "$figure" "$4")
    fi
    row "$1" "$(ms "$2")" "$(ms "$3")" "$figure" "${4:+$4 x}" "$holds"
}
# A row of a time in microseconds that has a mark of its own.
within() { # WORK OURS ATMOST_MS
    row "$1" "$(ms "$2")" - - "$3 ms" "$(below "$2" "$(($3 * 1000))")"
}
# A row of the memory that a command needs at most (`ru_maxrss`), KiB.
memory() { # WORK COMMAND...
    /usr/bin/time -f %M -o "$work/rss" "${@:2}" >/dev/null
    row "$1" "$(awk '{ printf "%.1f MiB", $1 / 1024 }' "$work/rss")" - - "64 MiB" "$(below "$(cat "$work/rss")" 65536)"
}
