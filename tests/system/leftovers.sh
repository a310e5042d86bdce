#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Prints what tests could leave behind on this machine, one thing a line, sorted: taken before and
# after the tests, the two lists must be equal (tests/report.py --check-leftovers).
set -u
shopt -s nullglob

list() {
	local kind=$1 item
	shift
	for item; do printf '%s %s\n' "$kind" "$item"; done
}

processes() {
	local comm name
	for comm in /proc/[0-9]*/comm; do
		read -r name <"$comm" || continue
		case $name in hugebus* | hb_*) comm=${comm#/proc/} && list process "${comm%/comm} $name" ;; esac
	done 2>/dev/null
}

{
	list namespace /run/netns/*
	awk '$2 != "/run/netns" { print "mount", $2, $3 }' /proc/self/mounts
	list interface /sys/class/net/*
	list shm /dev/shm/* /dev/hugepages/*
	find /run/dpdk ! -type d -printf "dpdk %p\n" 2>/dev/null # EAL leaves an empty directory for each prefix
	list pin /sys/fs/bpf/*
	list temporary "${TMPDIR:-/tmp}"/hugebus* "${TMPDIR:-/tmp}"/hbus*
	processes
	awk '/^HugePages_(Total|Free|Rsvd)/ { print "hugepages", $1, $2 }' /proc/meminfo
	if [ "$(id -u)" -eq 0 ] && PATH=$PATH:/usr/sbin command -v bpftool >/dev/null; then
		PATH=$PATH:/usr/sbin bpftool prog show | awk '/^[0-9]+: xdp/ { print "program", $1, $4 }'
	fi
} | LC_ALL=C sort
