#!/usr/bin/env bash
# What a clone costs: `vfadm vfolder clone` against `cp -a`, rsync and xcp, in pairs and in turn, on XFS with reflinks and
# on ext4 without; snapshots on btrfs and ZFS. Needs root and what tests/run installs, and for their rows rsync and xcp
# (`cargo install xcp`, or XCP=FILE) and zfs-fuse. A row a figure goes to stdout, with exit 1 where one is over its mark.
#
# A clone is on the disk when vfadm says that it is done. So the mark is for the peer followed by `sync -f`; the row below
# tells the same against the peer alone, which leaves its data in the cache.
#   PAIRS=7 FILES=100000 benches/clone.sh [--million]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export LC_ALL=C
pairs=${PAIRS:-5} files=${FILES:-100000} xcp=${XCP:-xcp}

if [ "$(id -u)" -ne 0 ]; then
    echo "benches/clone.sh: needs root" >&2
    exit 1
fi

# In memory: the disk's write-back would be measured, not the programs.
work=$(mktemp -d -p /dev/shm vfadm-bench-XXXXXX)
zfs_pid=""
# shellcheck disable=SC2317  # called by the trap
finish() {
    if [ -n "$zfs_pid" ]; then
        zpool destroy -f "vfadmbench$$" 2>/dev/null || true
        kill "$zfs_pid" 2>/dev/null || true
        wait "$zfs_pid" 2>/dev/null || true
    fi
    for name in xfs ext4 btrfs million; do
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

volume() { # NAME OPTION...
    mkdir -p "$work/$1/volume"
    "$vfadm" volume add "$1" "$work/$1/volume" "${@:2}" >/dev/null
}
folder() { # NAME VOLUME
    "$vfadm" vfolder create "bench/$1" --volume "$2" --cloneable >/dev/null
    "$vfadm" vfolder path "bench/$1"
}
# Clones of one folder and the peers' copies of it, in turn. Each is removed before the next.
in_turn() { # FOLDER VOLUME PEER...
    local from at="$work/$2" peer
    from=$("$vfadm" vfolder path "bench/$1")
    rm -f "$work"/log-*
    for _ in $(seq "$pairs"); do
        warm "$from"
        timed "$work/log-ours" "$at" "$vfadm" -q vfolder clone "bench/$1" bench/copy --volume "$2"
        "$vfadm" vfolder delete bench/copy --purge --yes >/dev/null
        for peer in "${@:3}"; do
            warm "$from"
            timed "$work/log-$peer" "$at" "by_$peer" "$from" "$at/copy"
            rm -rf "$at/copy"
        done
    done
}
# shellcheck disable=SC2317  # called by name
by_cp() { cp -a --reflink=never "$1" "$2"; }
# shellcheck disable=SC2317
by_reflink() { cp -a --reflink=always "$1" "$2"; }
# shellcheck disable=SC2317
by_rsync() { rsync -aHAX --sparse "$1/" "$2"; }
# shellcheck disable=SC2317
by_xcp() { "$xcp" -r "$1" "$2"; }

synced() { # WORK PEER ATMOST
    local ours
    ours=$(column "$work/log-ours" 1)
    compare "$1, synced" "$ours" "$(column "$work/log-$2" 2)" "$3"
    compare "    the peer not synced" "$ours" "$(column "$work/log-$2" 1)"
}
# The median of what a clone takes that needs no copying.
snapshots() { # FOLDER VOLUME
    rm -f "$work"/log-*
    for _ in $(seq "$pairs"); do
        # What waits to be written would be written by the snapshot.
        sync -f "$work/$2"
        timed "$work/log-ours" "$work" "$vfadm" -q vfolder clone "bench/$1" bench/copy --volume "$2"
        "$vfadm" vfolder delete bench/copy --purge --yes >/dev/null
    done
    column "$work/log-ours" 1
}
start_zfs() {
    command -v zfs-fuse >/dev/null && command -v zpool >/dev/null || return 1
    [ -e /dev/fuse ] || return 1
    zfs-fuse -n --pidfile "$work/zfs.pid" >"$work/zfs.log" 2>&1 &
    zfs_pid=$!
    truncate -s 2G "$work/zfs.img"
    for _ in $(seq 50); do
        if zpool create -m "$work/zfs" "vfadmbench$$" "$work/zfs.img" 2>/dev/null; then
            zfs create "vfadmbench$$/volume"
            return
        fi
        kill -0 "$zfs_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

export VFADM_ROOT=$work/root
filesystem xfs xfs 8G
filesystem ext4 ext4 8G
filesystem btrfs btrfs 4G
"$vfadm" init --volume "btrfs=$work/btrfs" --quota btrfs >/dev/null
volume xfs --quota none
volume ext4 --quota none
"$vfadm" user add bench >/dev/null

heading "$pairs pairs"
fill "$(folder small xfs)" "$files"
peers=(reflink)
if command -v rsync >/dev/null; then
    peers+=(rsync)
fi
in_turn small xfs "${peers[@]}"
synced "XFS, $files files: cp -a --reflink=always" reflink 0.55
if [ -e "$work/log-rsync" ]; then
    synced "XFS, $files files: rsync -aHAX --sparse" rsync 0.3
else
    echo "XFS, $files files: rsync is not there"
fi
"$vfadm" vfolder delete bench/small --purge --yes >/dev/null

large=$(folder large xfs)
for n in 1 2 3 4; do
    head -c 512M /dev/zero | tr '\0' "$n" >"$large/$n"
done
in_turn large xfs reflink cp
ours=$(column "$work/log-ours" 1) peer=$(column "$work/log-reflink" 2)
row "XFS, 4 x 512 MiB: cp -a --reflink=always, synced" "$(ms "$ours")" "$(ms "$peer")" "$(ratio "$ours" "$peer")" "peer + 20 ms" "$(below "$ours" "$((peer + 20000))")"
compare "    the peer not synced" "$ours" "$(column "$work/log-reflink" 1)"
synced "XFS, 4 x 512 MiB: cp -a" cp 0.1
"$vfadm" vfolder delete bench/large --purge --yes >/dev/null

fill "$(folder small ext4)" "$files"
peers=(cp)
if command -v "$xcp" >/dev/null; then
    peers+=(xcp)
fi
in_turn small ext4 "${peers[@]}"
synced "ext4, $files files: cp -a" cp 0.55
if [ -e "$work/log-xcp" ]; then
    synced "ext4, $files files: xcp -r" xcp 1.0
else
    echo "ext4, $files files: xcp is not there"
fi
"$vfadm" vfolder delete bench/small --purge --yes >/dev/null

fill "$(folder snap btrfs)" "$files"
within "btrfs, $files files: a snapshot" "$(snapshots snap btrfs)" 100
if start_zfs; then
    volume zfs --quota zfs --folders dataset
    fill "$(folder dataset zfs)" $((files / 100))
    within "ZFS, $((files / 100)) files: a clone of a dataset" "$(snapshots dataset zfs)" 100
else
    echo "ZFS: zfs-fuse is not there, or cannot run here"
fi

if [ "${1:-}" = --million ]; then
    filesystem million ext4 16G -N 2200000
    volume million --quota none
    fill "$(folder million million)" 1000000
    memory "memory, 1,000,000 files" "$vfadm" vfolder clone bench/million bench/copy --volume million
fi
exit "$failed"
