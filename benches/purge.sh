#!/usr/bin/env bash
# What it costs to get rid of a folder: `vfadm vfolder delete` to the trash, and `vfadm vfolder purge` against `rm -rf`, in
# pairs and in turn, on ext4 and XFS. Needs root and what tests/run installs. A row a figure goes to stdout, with exit 1
# where one is over its mark.
#
# A purge is on the disk when vfadm says that it is done. So the mark is for `rm -rf` followed by `sync -f`; the row below
# tells the same against `rm -rf` alone.
#   PAIRS=7 FILES=100000 benches/purge.sh [--million]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export LC_ALL=C
pairs=${PAIRS:-5} files=${FILES:-100000}

if [ "$(id -u)" -ne 0 ]; then
    echo "benches/purge.sh: needs root" >&2
    exit 1
fi

# In memory: the disk's write-back would be measured, not the programs.
work=$(mktemp -d -p /dev/shm vfadm-bench-XXXXXX)
# shellcheck disable=SC2317  # called by the trap
finish() {
    for name in ext4 xfs million; do
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

volume() { # NAME
    mkdir "$work/$1/volume"
    "$vfadm" volume add "$1" "$work/$1/volume" --quota none >/dev/null
}
# A folder in the trash; how long it took to get there goes to log-trash.
trashed() { # VOLUME FILES
    "$vfadm" vfolder create bench/data --volume "$1" >/dev/null
    fill "$("$vfadm" vfolder path bench/data)" "$2"
    sync -f "$work/$1"
    timed "$work/log-trash" "$work/$1" "$vfadm" vfolder delete bench/data
}

export VFADM_ROOT=$work/root
mkdir "$work/root"
"$vfadm" init >/dev/null
"$vfadm" user add bench >/dev/null

heading "$pairs pairs, $files files"
for kind in ext4 xfs; do
    filesystem "$kind" "$kind" 8G
    volume "$kind"
    rm -f "$work"/log-*
    for _ in $(seq "$pairs"); do
        trashed "$kind" "$files"
        timed "$work/log-ours" "$work/$kind" "$vfadm" vfolder purge bench/data --yes
        fill "$work/$kind/by-hand" "$files"
        sync -f "$work/$kind"
        timed "$work/log-rm" "$work/$kind" rm -rf "$work/$kind/by-hand"
    done
    ours=$(column "$work/log-ours" 1)
    compare "$kind: rm -rf, synced" "$ours" "$(column "$work/log-rm" 2)" "$([ "$kind" = ext4 ] && echo 0.6 || echo 1.0)"
    compare "    rm not synced" "$ours" "$(column "$work/log-rm" 1)"
    within "$kind: delete to the trash" "$(column "$work/log-trash" 1)" 30
    umount "$work/$kind"
    rm "$work/$kind.img"
done

if [ "${1:-}" = --million ]; then
    filesystem million ext4 8G -N 1200000
    volume million
    trashed million 1000000
    memory "memory, 1,000,000 files" "$vfadm" vfolder purge bench/data --yes
fi
exit "$failed"
