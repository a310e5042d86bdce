#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is installed is enough: programs build against it, from C and from C++, and the program in the
# README does what it says.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands meson pkg-config cc nm

_install() {
	DESTDIR=$lab/root meson install -C "$HBUS_BUILD" --no-rebuild --quiet >"$lab/log" 2>&1 || { cat "$lab/log"; return 1; }
	PKG_CONFIG_LIBDIR=$(dirname "$(find "$lab/root" -name hugebus.pc)")
	export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR=$lab/root
	libdir=$(dirname "$PKG_CONFIG_LIBDIR")
}

# _compile NAME SOURCE
_compile() {
	# shellcheck disable=SC2046 # words
	cc -std=gnu11 -Wall -Wextra -Werror -o "$lab/$1" "$2" $(pkg-config --cflags --libs hugebus)
}

the_examples_build_against_it_and_meet() {
	_install && _compile publisher "$top/examples/publisher.c" && _compile subscriber "$top/examples/subscriber.c" || return 1
	export LD_LIBRARY_PATH=$libdir
	bus || return 1
	lab_spawn subscriber "$lab/subscriber" "$HUGEBUS_SOCKET"
	lab_until 10 _has_subscriber || return 1
	timeout 20 "$lab/publisher" "$HUGEBUS_SOCKET" || return 1
	lab_until 10 lab_has_ended subscriber
	lab_stop subscriber || return 1
	expect "$(wc -l <"$lab/subscriber.out")" -eq 10
}

_has_subscriber() { hugebus ls subscribers | grep -q 'examples/#'; }

the_program_in_the_readme_prints_what_is_published() {
	_install || return 1
	sed -n '/^```c$/,/^```$/p' "$top/README.md" | sed '1d;$d' >"$lab/readme.c"
	_compile readme "$lab/readme.c" || return 1
	export LD_LIBRARY_PATH=$libdir
	bus || return 1
	lab_spawn readme stdbuf -oL "$lab/readme"
	lab_until 10 _has_reader || return 1
	hugebus pub -t plant/hall1/temperature -m 21.5 || return 1
	lab_wait_line readme '^plant/hall1/temperature 21.5$'
}

_has_reader() { hugebus ls subscribers | grep -q 'plant/#'; }

it_links_statically() {
	_install || return 1
	# shellcheck disable=SC2046
	cc -o "$lab/publisher" "$top/examples/publisher.c" $(pkg-config --cflags hugebus) "$libdir/libhugebus.a" -pthread -ldl || return 1
	bus || return 1
	timeout 20 "$lab/publisher" "$HUGEBUS_SOCKET"
}

the_header_is_good_cxx() {
	local cxx
	cxx=$(command -v c++ || command -v clang++) || { echo "no C++ compiler"; return 0; }
	_install || return 1
	printf '#include <hugebus.h>\nstatic_assert(HBUS_FULL == 1, "");\n' >"$lab/a.cc"
	# shellcheck disable=SC2046
	"$cxx" -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $(pkg-config --cflags hugebus) "$lab/a.cc"
}

only_the_api_is_exported() {
	_install || return 1
	nm -D --defined-only "$libdir/libhugebus.so" | awk '{ print $3 }' | grep -vE '^(hbus_|HUGEBUS_)' >"$lab/others"
	expect "$(wc -l <"$lab/others")" -eq 0
	expect "$(nm -D --defined-only "$libdir/libhugebus.so" | grep -c '@@HUGEBUS_')" -ge 30
}

# _has_options PROGRAM PAGE: what --help names stands in the page, and nothing else does.
_has_options() {
	"$1" --help | grep -oE -- '^ +(-[A-Za-z?], +)?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+' | sort -u >"$lab/help"
	grep -E '^\.It ' "$2" | grep -oE -- '(Fl|,) -[a-z0-9-]+' | sed -E 's/(Fl|,) /-/' | sort -u >"$lab/page"
	diff "$lab/help" "$lab/page" && [ -s "$lab/help" ]
}

the_manual_pages_name_each_option() {
	local program
	_install || return 1
	for program in hugebus-mqtt hugebus-ingress; do
		command -v "$program" >/dev/null || { echo "no $program"; continue; }
		_has_options "$program" "$(find "$lab/root" -name "$program.8")" || { echo "page of $program"; return 1; }
	done
}

run_cases "$@"
