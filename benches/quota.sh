#!/usr/bin/env bash
# What limits cost: `quota set` on a scope with 100,000 files against one that is empty, in pairs and in turn, and
# `quota show` of 1,000 scopes with the number of programs that it runs, beside the storage's own list. Needs root and
# what tests/run installs. Figures go to stdout, with exit 1 where one misses its mark.
#   PAIRS=9 SCOPES=1000 FILES=100000 benches/quota.sh [btrfs|zfs|cephfs|xfs|ext4]      default: btrfs
# XFS and ext4 need a kernel with quotas; where this one has none:
#   tests/labs/guest up DIR && tests/labs/guest run DIR -- env SCOPES=100 FILES=20000 benches/quota.sh xfs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export LC_ALL=C
storage=${1:-btrfs} pairs=${PAIRS:-9} scopes=${SCOPES:-1000} files=${FILES:-100000}

if [ "$(id -u)" -ne 0 ]; then
    echo "benches/quota.sh: needs root" >&2
    exit 1
fi
# In a guest the files of this machine are read-only: there it is built before.
[ -n "${VFADM:-}" ] || cargo build --release --locked --quiet
vfadm=${VFADM:-$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/vfadm}

# In memory: the disk's write-back would be measured, not the programs.
work=$(mktemp -d -p /dev/shm vfadm-bench-XXXXXX)
# shellcheck disable=SC2317  # called by the trap
finish() {
    "tests/labs/$storage" down "$work" >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

tests/labs/"$storage" up "$work" >/dev/null 2>&1
volume=$work/mnt/v
case $storage in
    zfs)
        pool=$(findmnt -no SOURCE "$work/mnt")
        zfs create "$pool/v"
        own_list="zfs get"
        peer=(zfs get -Hp -r -d 1 -o "name,value" used "$pool/v")
        ;;
    btrfs)
        mkdir "$volume"
        own_list="btrfs qgroup show"
        peer=(btrfs qgroup show --raw -re "$work/mnt")
        ;;
    cephfs)
        mkdir "$volume"
        own_list=getfattr
        peer=(find "$volume" -mindepth 1 -maxdepth 1 -type d)
        peer+=(-exec getfattr --absolute-names --only-values -n ceph.dir.rbytes {} +)
        ;;
    xfs | ext4)
        mkdir "$volume"
        own_list="xfs_quota report"
        foreign=()
        [ "$storage" = xfs ] || foreign=(-f)
        peer=(xfs_quota "${foreign[@]}" -x -c "report -p -n -N -b" "$work/mnt")
        ;;
esac
export VFADM_ROOT=$work/root
"$vfadm" init --volume "v=$volume" --quota "$storage" >/dev/null 2>&1

# shellcheck source=benches/lib.sh
. benches/lib.sh

printf '%-52s %12s   %-12s\n' "$storage" figure mark
for owner in full empty; do
    "$vfadm" user add "$owner" >/dev/null
    "$vfadm" vfolder create "$owner/data" --quota-init 1g >/dev/null
done
folder=$("$vfadm" vfolder path full/data)
python3 - "$folder" "$files" <<'PY'
import os, sys
folder, files = sys.argv[1], int(sys.argv[2])
for n in range(files):
    if n % 1000 == 0:
        os.mkdir(f"{folder}/{n // 1000}")
    open(f"{folder}/{n // 1000}/{n}", "w").close()
PY
for n in $(seq "$pairs"); do
    for owner in full empty; do
        took "$vfadm" quota set "$owner" "$((1024 + n))m" >>"$work/$owner.times"
    done
done
full=$(median <"$work/full.times")
empty=$(median <"$work/empty.times")
judge "quota set, empty scope, median of $pairs" "$(ms "$empty")" "" 1
judge "quota set, $files files, the same" "$(ms "$full")" "" 1
judge "ratio" "$(ratio "$full" "$empty")" "<= 1.3" $((10 * full <= 13 * empty))

for n in $(seq "$((scopes - 2))"); do
    "$vfadm" user add "u$n" >/dev/null
    "$vfadm" quota set "u$n" 1g >/dev/null
done
for n in $(seq "$pairs"); do
    took "$vfadm" quota show >>"$work/show.times"
    took "${peer[@]}" >>"$work/peer.times"
done
show=$(median <"$work/show.times")
own=$(median <"$work/peer.times")
runs=$("$vfadm" -v quota show 2>&1 >/dev/null | grep -c '^+ ' || true)
listed=$("$vfadm" -o tsv quota show | tail -n +2 | wc -l)
judge "quota show, $listed scopes" "$(ms "$show")" "" $((listed == scopes))
judge "programs run for it" "$runs" "<= 1" $((runs <= 1))
judge "the storage's own list ($own_list)" "$(ms "$own")" "" 1
judge "ratio" "$(ratio "$show" "$own")" "" 1
exit "$failed"
