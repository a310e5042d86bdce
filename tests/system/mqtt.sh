# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For tests with mosquitto's clients, to be sourced after lib.sh: what a subscriber in the lab has heard.

# Without its debug lines.
heard() { grep -v '^Client \|^Subscribed ' "$lab/$1.out"; }

# hears NAME LINE [SECONDS]
hears() {
	lab_until "${3:-20}" grep -qxF -- "$2" "$lab/$1.out" && return 0
	printf '%s did not hear "%s" but:\n' "$1" "$2" >&2
	cat "$lab/$1.out" >&2
	return 1
}
