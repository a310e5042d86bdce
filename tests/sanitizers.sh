#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds the tree once more with a sanitizer and runs the tests that it can judge:
#
#     tests/sanitizers.sh address BUILD-DIR    unit tests, fuzzers, simulations, kills and a scribbler with ASan and UBSan
#     tests/sanitizers.sh thread BUILD-DIR     stress tests with TSan (criterion cannot run under it), and a bus of TSan programs
# Exit: 0 passed, 1 failed, 2 usage, 77 no clang.
set -euo pipefail
if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
	sed -n '4,8s/^# \?//p' "$0"
	exit 0
fi
[ $# -eq 2 ] || { echo "usage: sanitizers.sh address|thread BUILD-DIR (--help)" >&2; exit 2; }
kind=$1
dir=$2
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

case $kind in
address)
	options=("-Db_sanitize=address,undefined")
	suite=(unit stress crash)
	;;
thread)
	command -v clang >/dev/null || { echo "needs clang" && exit 77; }
	export CC=clang
	options=(-Db_sanitize=thread -Dtests=disabled)
	suite=(stress)
	;;
*)
	echo "no such sanitizer: $kind (--help)" >&2
	exit 2
	;;
esac

[ -f "$dir/build.ninja" ] || meson setup "$dir" "$top" -Db_lundef=false "${options[@]}" >"$dir.log" || { tail "$dir.log" && exit 1; }
ninja -C "$dir" >"$dir.log" || { tail -n 40 "$dir.log" && exit 1; }
# libbpf keeps its copies of what it loaded until the process ends, libxdp a umem: not ours to give back.
printf 'leak:%s\n' libbpf.so libxdp.so >"$dir/lsan.supp"
export LSAN_OPTIONS="suppressions=$dir/lsan.supp:print_suppressions=0"
# What is instrumented is slow, and the machine may be: a test that hangs is ended all the same.
"$top/tests/report.py" "$dir" "${suite[@]/#/--suite=hugebus:}" --no-suite long --timeout-multiplier 10
[ "$kind" != thread ] || "$top/tests/stress/tsan_bus.sh" "$dir"
