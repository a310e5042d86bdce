#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What the tests run of the code, by lines and branches:
#
#     tests/coverage.sh [--dir DIR] [--suite NAME]...   builds in DIR (default: build-coverage), runs the tests, prints a table
#     tests/coverage.sh [--dir DIR] --report            only the table again
#     tests/coverage.sh [--dir DIR] --uncovered [PATH]  functions that never ran, and ranges of lines that did not
#
# Programs that are killed write no counts: what only they run looks as if it had not run. COVERAGE.md says what is not
# covered, and why.
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
dir=$top/build-coverage
suites=()
mode=run
path=
while [ $# -gt 0 ]; do
	case $1 in
	--dir) dir=${2:?--dir needs a directory (--help)}; shift ;;
	--suite) suites+=(--suite "hugebus:${2:?--suite needs a name (--help)}"); shift ;;
	--report) mode=report ;;
	--uncovered) mode=uncovered path=${2:-}; [ $# -eq 1 ] || shift ;;
	-h | --help) sed -n '4,12s/^# \?//p' "$0"; exit 0 ;;
	*) echo "coverage.sh: unknown option '$1' (--help)" >&2; exit 2 ;;
	esac
	shift
done

if [ $mode = run ]; then
	command -v gcov >/dev/null || { echo "needs gcov (package gcc)"; exit 77; }
	[ -f "$dir/build.ninja" ] || CC=gcc meson setup --buildtype=debug -Db_coverage=true "$dir" "$top" >/dev/null
	ninja -C "$dir" >"$dir/coverage-build.log" || { tail -n 20 "$dir/coverage-build.log"; exit 1; }
	find "$dir" -name '*.gcda' -delete
	# Short of time nothing is covered: programs are slower here, and a failure is said, but counts all the same.
	"$top/tests/report.py" "$dir" --timeout-multiplier 4 --no-suite hugebus:long --no-suite hugebus:mutants \
		--no-suite hugebus:style --no-suite hugebus:model ${suites[@]+"${suites[@]}"} | tail -n 30 || :
fi
exec "$top/tests/coverage.py" "$dir" "$top" "$mode" "$path"
