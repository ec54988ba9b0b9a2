#!/usr/bin/env bash
# What a folder costs: `vfadm vfolder create` on an empty btrfs root against `lxc storage volume create` on a btrfs pool,
# in pairs and in turn; then 10,000 folders against 100, and the start-up time. Needs root. Figures go to stdout, with
# exit 1 where one misses its mark.
#   PAIRS=9 benches/create.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
pairs=${PAIRS:-9}

if [ "$(id -u)" -ne 0 ]; then
    echo "benches/create.sh: needs root" >&2
    exit 1
fi

# In memory: the disk's write-back would be measured, not the programs.
work=$(mktemp -d -p /dev/shm vfadm-bench-XXXXXX)
lxd_pid=""
# shellcheck disable=SC2317  # called by the trap
finish() {
    if [ -n "$lxd_pid" ]; then
        lxd shutdown --timeout 20 >/dev/null 2>&1 || kill "$lxd_pid" 2>/dev/null || true
        wait "$lxd_pid" 2>/dev/null || true
    fi
    # What lxd mounted below its directory, deepest first; then the images of this script.
    awk -v dir="$work/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r point; do
        umount "$point" 2>/dev/null || umount -l "$point" || true
    done
    rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

cargo build --release --locked --quiet
vfadm=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/vfadm

# shellcheck source=benches/lib.sh
. benches/lib.sh

btrfs_root() { # NAME
    truncate -s 2G "$work/$1.img"
    mkfs.btrfs -q "$work/$1.img" >/dev/null 2>&1
    mkdir "$work/$1"
    mount -o loop "$work/$1.img" "$work/$1"
    "$vfadm" --root "$work/$1" init --volume "local=$work/$1/local" --quota btrfs >/dev/null
    "$vfadm" --root "$work/$1" user add alice >/dev/null
}

start_lxd() {
    if ! command -v lxd >/dev/null || ! command -v lxc >/dev/null; then
        apt-get update -qq </dev/null >&2
        apt-get install -y -qq --no-install-recommends lxd lxd-client btrfs-progs </dev/null >&2 || return 1
    fi
    export LXD_DIR="$work/lxd" HOME="$work/home"
    mkdir "$LXD_DIR" "$HOME"
    lxd --logfile "$work/lxd.log" >/dev/null 2>&1 &
    lxd_pid=$!
    lxd waitready --timeout 60 >&2 || return 1
    lxc storage create bench btrfs size=2GiB >/dev/null 2>&1 || return 1
}

vfadm_create() {
    took "$vfadm" --root "$work/pool" vfolder create "alice/f$1"
}
lxc_create() {
    took lxc storage volume create bench "f$1" size=64MiB
}

printf '%-52s %12s   %-12s\n' "" figure mark
if start_lxd; then
    btrfs_root pool
    : >"$work/vfadm.times"
    : >"$work/lxc.times"
    # The first pair warms both up.
    vfadm_create 0 >/dev/null
    lxc_create 0 >/dev/null
    for n in $(seq "$pairs"); do
        if [ $((n % 2)) -eq 0 ]; then
            vfadm_create "$n" >>"$work/vfadm.times"
            lxc_create "$n" >>"$work/lxc.times"
        else
            lxc_create "$n" >>"$work/lxc.times"
            vfadm_create "$n" >>"$work/vfadm.times"
        fi
    done
    ours=$(median <"$work/vfadm.times")
    theirs=$(median <"$work/lxc.times")
    judge "vfolder create, btrfs, median of $pairs" "$(ms "$ours")" "< lxc" $((ours < theirs))
    judge "lxc storage volume create, btrfs, the same" "$(ms "$theirs")" "" 1
    judge "ratio" "$(ratio "$ours" "$theirs")" "< 1" $((ours < theirs))
else
    if [ -n "${CI:-}" ]; then
        echo "lxd could not be installed or started:" >&2
        tail -n 20 "$work/lxd.log" >&2 || true
        exit 1
    fi
    echo "skipped: lxc not available"
fi

# Records as vfadm writes them, before the one that is there: the file is accepted as edited, and sealed by the next
# change. Their folders are not on disk, which neither create nor list looks at.
fill() { # ROOT COUNT
    python3 - "$1/registry.yaml" "$2" <<'PY'
import json, sys, uuid
path, count = sys.argv[1], int(sys.argv[2])
lines = open(path).read().splitlines()
at = next(i for i, line in enumerate(lines) if line.startswith("vfolders:"))
records = []
for n in range(count):
    record = {"id": str(uuid.uuid4()), "volume": "local", "status": "ready", "created_at": "2026-01-01T00:00:00Z"}
    records.append('  "user/alice/bulk-%06d": %s' % (n, json.dumps(record, separators=(",", ":"))))
lines[at + 1 : at + 1] = records
open(path, "w").write("\n".join(lines) + "\n")
PY
}

for count in 100 10000; do
    btrfs_root "r$count"
    # Makes the scope; the one after the fill seals the file. What is measured then is the everyday case.
    "$vfadm" --root "$work/r$count" vfolder create alice/first >/dev/null
    fill "$work/r$count" "$count"
    "$vfadm" --root "$work/r$count" vfolder create alice/second >/dev/null 2>&1
done
for kind in create list; do
    for count in 100 10000; do
        : >"$work/$kind.$count"
    done
    for n in $(seq "$pairs"); do
        for count in 100 10000; do
            if [ "$kind" = create ]; then
                took "$vfadm" --root "$work/r$count" vfolder create "alice/n$n" >>"$work/$kind.$count"
            else
                took "$vfadm" --root "$work/r$count" vfolder list >>"$work/$kind.$count"
            fi
        done
    done
done
few=$(median <"$work/create.100")
many=$(median <"$work/create.10000")
judge "vfolder create among 100 folders" "$(ms "$few")" "" 1
judge "vfolder create among 10,000 folders" "$(ms "$many")" "<= 2 x 100" $((many <= 2 * few))
judge "ratio" "$(ratio "$many" "$few")" "<= 2" $((many <= 2 * few))
list=$(median <"$work/list.10000")
judge "vfolder list of 10,000 folders" "$(ms "$list")" "< 200 ms" $((list < 200000))
start=$(for _ in $(seq 51); do took "$vfadm" --version; done | median)
judge "start (vfadm --version)" "$(ms "$start")" "< 5 ms" $((start < 5000))
exit "$failed"
