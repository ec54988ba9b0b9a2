#!/usr/bin/env bash
# What another owner for a folder costs: `vfadm vfolder transfer` of 100,000 small files against `cp -a` and `rm -rf`, in
# pairs and in turn: within one btrfs volume, and from one ext4 volume to another, where both have to copy. Needs root
# and what tests/run installs. Figures go to stdout, with exit 1 where one misses its mark.
#   PAIRS=5 FILES=100000 benches/transfer.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export LC_ALL=C
pairs=${PAIRS:-5} files=${FILES:-100000}

if [ "$(id -u)" -ne 0 ]; then
    echo "benches/transfer.sh: needs root" >&2
    exit 1
fi

# In memory: the disk's write-back would be measured, not the programs.
work=$(mktemp -d -p /dev/shm vfadm-bench-XXXXXX)
# shellcheck disable=SC2317  # called by the trap
finish() {
    for name in btrfs one two; do
        umount "$work/$name" 2>/dev/null || true
    done
    rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

cargo build --release --locked --quiet
vfadm=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/vfadm
# shellcheck source=benches/lib.sh
. benches/lib.sh

# shellcheck disable=SC2317  # called by took
by_hand() { # FROM TO
    cp -a "$1" "$2" && rm -rf "$1" && sync -f "$2"
}

filesystem btrfs btrfs 8G
filesystem one ext4 8G
filesystem two ext4 8G
export VFADM_ROOT=$work/root
"$vfadm" init --volume "btrfs=$work/btrfs" --quota btrfs >/dev/null
for name in one two; do
    mkdir "$work/$name/volume"
    "$vfadm" volume add "$name" "$work/$name/volume" --quota none >/dev/null
done
"$vfadm" user add alice >/dev/null
"$vfadm" user add bob >/dev/null

printf '%-52s %12s   %-12s\n' "$files files" figure mark
: >"$work/own"
: >"$work/hand"
"$vfadm" vfolder create alice/data --volume btrfs >/dev/null
fill "$("$vfadm" vfolder path alice/data)" "$files"
fill "$work/btrfs/by-hand" "$files"
from=alice to=bob
for _ in $(seq "$pairs"); do
    took "$vfadm" vfolder transfer "$from/data" "$to" >>"$work/own"
    took by_hand "$work/btrfs/by-hand" "$work/btrfs/copied" >>"$work/hand"
    mv "$work/btrfs/copied" "$work/btrfs/by-hand"
    read -r from to <<<"$to $from"
done
own=$(median <"$work/own") hand=$(median <"$work/hand")
figure=$(ratio "$own" "$hand")
judge "within a btrfs volume ($(ms "$own") to $(ms "$hand"))" "$figure" "0.1 x" "$(below "$figure" 0.1)"

: >"$work/own"
: >"$work/hand"
"$vfadm" vfolder create alice/far --volume one >/dev/null
fill "$("$vfadm" vfolder path alice/far)" "$files"
fill "$work/one/by-hand" "$files"
from=one to=two
for _ in $(seq "$pairs"); do
    took "$vfadm" vfolder transfer alice/far alice --volume "$to" >>"$work/own"
    took by_hand "$work/$from/by-hand" "$work/$to/by-hand" >>"$work/hand"
    read -r from to <<<"$to $from"
done
own=$(median <"$work/own") hand=$(median <"$work/hand")
figure=$(ratio "$own" "$hand")
judge "between ext4 volumes ($(ms "$own") to $(ms "$hand"))" "$figure" "1.0 x" "$(below "$figure" 1.0)"
exit "$failed"
