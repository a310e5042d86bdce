#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Runs the Spin models and their mutants; README.md says what they show.
#
#	run.sh [--quick] [--only PATTERN]
#
# A model must be searched to the end without an error. A mutant, which lacks one fence, check or order, must
# fail, and in the way the table says. Exit: 0, 1, or 77 when spin or the compiler is missing.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
quick=0 only=
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--only) only=${2:?--only needs a pattern}; shift ;;
	-h | --help) sed -n '3,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) echo "usage: run.sh [--quick] [--only PATTERN]" >&2; exit 2 ;;
	esac
	shift
done
for tool in spin gcc; do
	command -v $tool >/dev/null || { echo "skipped: no $tool here (Debian: spin, gcc)"; exit 77; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
passed=0 failed=0 skipped=0

# What a run came to: ok, assert, deadlock, or broken when it says nothing (out of memory, of time, of depth).
outcome()
{
	if grep -q 'pan:1: assertion violated' "$1"; then echo assert
	elif grep -q 'pan:1: invalid end state' "$1"; then echo deadlock
	elif grep -q 'pan:1: acceptance cycle' "$1"; then echo cycle
	elif grep -Eq 'reached -DMEMLIM|max search depth too small|resource exhausted' "$1"; then echo broken
	elif grep -q 'errors: 0' "$1"; then echo ok
	else echo broken
	fi
}

# run_case SET MODEL EXPECTED NAME FLAGS...; in the quick set: q, otherwise f
run_case()
{
	set_=$1 model=$2 expected=$3 name=$4
	shift 4
	case "$model $name" in *"$only"*) ;; *) return ;; esac
	if [ $quick = 1 ] && [ "$set_" != q ]; then
		skipped=$((skipped + 1))
		return
	fi
	dir=$work/case
	rm -rf "$dir" && mkdir "$dir" && cp "$here"/*.pml "$dir" && cd "$dir" || exit 1
	# A mutant fails soon, a quick model is small: compilation is what takes the time.
	if [ "$expected" != ok ]; then level=-O0
	elif [ "$set_" = q ]; then level=-O1
	else level=-O2
	fi
	if spin -a "$@" "$model.pml" >log 2>&1 &&
	   gcc $level -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c >>log 2>&1; then
		timeout 240 ./pan -m100000 >log 2>&1
		got=$(outcome log)
	else
		got=broken
	fi
	states=$(awk '/states, stored/ { print $1 }' log)
	seconds=$(awk '/elapsed time/ { print $4 }' log)
	if [ "$got" = "$expected" ]; then
		passed=$((passed + 1)) verdict=passed
	else
		failed=$((failed + 1)) verdict="FAILED, expected $expected"
	fi
	printf '%-8s %-26s %11s %7s  %-9s %s\n' "$model" "$name" "${states:--}" "${seconds:--}" "$got" "$verdict"
	[ "$verdict" = passed ] || tail -n 20 log
	cd "$here" || exit 1
}

printf '%-8s %-26s %11s %7s  %-9s %s\n' model "run or mutant" states seconds outcome verdict

# ---- ring: commit, read, lap, checkpoints; lossy reader; the publisher killed at any step
run_case f ring ok all -DSTOP=14
run_case f ring ok "records of 1, 3" -DMIX=1 -DSTOP=15
run_case q ring ok "records of 3, (1, 2)" -DMIX=2 -DSTOP=11
run_case f ring ok "the same, further" -DMIX=2 -DSTOP=18
run_case f ring ok "records of 1, (1, 2)" -DMIX=3 -DSTOP=15
run_case f ring ok "records of 2, (1, 3)" -DMIX=4 -DSTOP=16
run_case f ring ok "records of 1, 4, (2, 1)" -DMIX=5 -DSTOP=13
run_case f ring ok "blocks of 4" -DB=4 -DMIX=2 -DSTOP=18
run_case q ring assert header_relaxed -DMUT_header_relaxed
run_case q ring assert header_not_acquire -DMUT_header_not_acquire
run_case f ring assert no_intent_fence -DMUT_no_intent_fence
run_case f ring assert no_read_fence -DMUT_no_read_fence
run_case f ring assert use_unchecked -DMUT_use_unchecked
run_case f ring assert empty_unchecked -DMUT_empty_unchecked
run_case f ring assert invalid_unchecked -DMUT_invalid_unchecked
run_case f ring assert check_last_only -DMUT_check_last_only -DSTOP=12
run_case f ring assert intent_late -DMUT_intent_late
run_case f ring assert intent_falls -DMUT_intent_falls
run_case f ring assert intent_no_round -DMUT_intent_no_round
run_case q ring assert intent_without_zero -DMUT_intent_without_zero
run_case q ring assert zero_after_header -DMUT_zero_after_header
run_case f ring assert batch_first_first -DMUT_batch_first_first
run_case f ring assert ckpt_before_commit -DMUT_ckpt_before_commit
run_case f ring assert ckpt_pos_first -DMUT_ckpt_pos_first
run_case q ring assert ckpt_pos_relaxed -DMUT_ckpt_pos_relaxed
run_case f ring assert ckpt_not_acquire -DMUT_ckpt_not_acquire
run_case f ring assert ckpt_no_read_fence -DMUT_ckpt_no_read_fence
run_case f ring assert ckpt_unchecked -DMUT_ckpt_unchecked
run_case f ring assert block_not_dividing -DB=4 -DM=5
# Not needed against an honest publisher: kept because peers may be hostile.
run_case f ring ok ckpt_no_block_check -DMUT_ckpt_no_block_check -DSTOP=12
run_case f ring ok ckpt_not_beyond -DMUT_ckpt_not_beyond -DSTOP=12

# ---- gate: reliable reader: join, read, leave, be dropped, be killed
run_case q gate ok "joins, reads" -DSTOP=15
run_case f gate ok "the same, further" -DSTOP=24
run_case f gate ok "batches" -DBATCHES -DSTOP=20
run_case f gate ok "dropped" -DSTALLS -DBATCHES -DSTOP=18
run_case f gate ok "anybody killed" -DREADER_KILLS -DSTALLS -DKILLS -DSTOP=18
run_case f gate ok "joins twice" -DJOINS=2 -DSTALLS -DREADER_KILLS -DSTOP=17
run_case f gate ok "isolated ring" -DISOLATED -DBATCHES -DSTALLS -DSTOP=20
run_case f gate ok "leaves, no daemon" -DDAEMON_DIES -DSTOP=20
run_case f gate ok "blocks of 4" -DB=4 -DBATCHES -DSTALLS -DSTOP=18
run_case q gate assert no_membarrier -DMUT_no_membarrier
run_case f gate assert no_control_fence -DMUT_no_control_fence
run_case f gate assert no_scan_fence -DMUT_no_scan_fence -DISOLATED
run_case q gate assert base_current_tail -DMUT_base_current_tail
run_case f gate assert cursor_not_reset -DMUT_cursor_not_reset
run_case f gate assert cursor_not_acquire -DMUT_cursor_not_acquire
run_case f gate assert cursor_relaxed -DMUT_cursor_relaxed
run_case f gate deadlock cursor_rarely -DMUT_cursor_rarely
run_case f gate assert intent_before_scan -DMUT_intent_before_scan
run_case f gate assert lookup_before_ack -DMUT_lookup_before_ack
run_case f gate assert lookup_unchecked -DMUT_lookup_unchecked
run_case q gate deadlock never_drops -DMUT_never_drops -DREADER_KILLS
run_case f gate assert evicted_unchecked -DMUT_evicted_unchecked -DSTALLS
run_case f gate deadlock leave_zeroes -DMUT_leave_zeroes -DDAEMON_DIES
run_case f gate assert dropped_by_place -DMUT_dropped_by_place -DSTALLS -DJOINS=2 -DSTOP=17
run_case f gate assert drop_seen_at_once -DMUT_drop_seen_at_once -DSTALLS
run_case f gate assert block_not_dividing -DB=4 -DM=5

# ---- wake: waiting, notify, membarrier, the end of a ring
run_case q wake ok "futex, membarrier"
run_case f wake ok "5 events" -DN=5
run_case f wake ok "futex, isolated" -DISOLATED
run_case f wake ok "doorbell" -DDOORBELL
run_case f wake ok "doorbell, isolated" -DDOORBELL -DISOLATED
run_case q wake deadlock no_membarrier -DMUT_no_membarrier
run_case f wake deadlock no_membarrier_doorbell -DMUT_no_membarrier -DDOORBELL
run_case f wake deadlock barrier_before_waiting -DMUT_barrier_before_waiting
run_case q wake deadlock no_second_look -DMUT_no_second_look
run_case f wake deadlock notify_read_late -DMUT_notify_read_late
run_case f wake deadlock wake_without_bump -DMUT_wake_without_bump
run_case f wake deadlock no_publisher_fence -DMUT_no_publisher_fence -DISOLATED
run_case f wake deadlock no_sleeper_fence -DMUT_no_sleeper_fence -DISOLATED
run_case f wake deadlock bell_emptied_late -DMUT_bell_emptied_late -DDOORBELL
run_case f wake assert closed_after_look -DMUT_closed_after_look
run_case f wake assert state_relaxed -DMUT_state_relaxed

# ---- table: an entry of the gate table is shown, used, dropped, taken out and unmapped
run_case q table ok "membarrier"
run_case f table ok "isolated" -DISOLATED
run_case f table ok "more rounds" -DROUNDS=12
run_case f table ok "registered meanwhile" -DREGISTERS
run_case f table assert registered_early -DREGISTERS -DMUT_registered_early
run_case f table assert registered_before_fence -DREGISTERS -DMUT_registered_before_fence
run_case f table assert registered_not_acquire -DREGISTERS -DMUT_registered_not_acquire
run_case q table assert fences_dropped_early -DREGISTERS -DMUT_fences_dropped_early
run_case f table assert no_membarrier -DMUT_no_membarrier
run_case f table assert no_enter_fence -DMUT_no_enter_fence -DISOLATED
run_case f table assert no_control_fence -DMUT_no_control_fence -DISOLATED
run_case f table assert no_wait -DMUT_no_wait
run_case f table assert enter_late -DMUT_enter_late
run_case f table assert leave_relaxed -DMUT_leave_relaxed
run_case q table assert drop_plain -DMUT_drop_plain
run_case f table assert state_relaxed -DMUT_state_relaxed
run_case f table assert state_not_acquire -DMUT_state_not_acquire
run_case q table assert used_late -DMUT_used_late
# The barrier of the installation makes up for it; the order stays, because a scan then finds what the count promises.
run_case f table ok used_relaxed -DMUT_used_relaxed

# ---- look: the list of those whom a publish looks at, while some go and come
run_case q look ok "one stays, others go"
run_case q look ok "the same by their number" -DBY_COUNT
run_case f look ok "more rounds" -DROUNDS=8
run_case f look ok "more rounds by their number" -DROUNDS=8 -DBY_COUNT
run_case f look assert count_relaxed -DMUT_count_relaxed -DBY_COUNT
run_case f look assert count_first -DMUT_count_first -DBY_COUNT
run_case f look assert count_not_acquire -DMUT_count_not_acquire -DBY_COUNT
run_case f look assert added_relaxed -DMUT_added_relaxed -DBY_COUNT
run_case q look assert dropped_late -DMUT_dropped_late
run_case f look assert no_wait -DMUT_no_wait
run_case f look assert no_wait_by_number -DMUT_no_wait -DBY_COUNT
run_case q look assert cleared_early -DMUT_cleared_early
run_case f look assert not_cleared -DMUT_not_cleared

# ---- dropped: the words in which the publisher says so
run_case q dropped ok "3 gates, one place"
run_case f dropped assert id_not_cleared -DMUT_id_not_cleared
run_case f dropped assert no_clear_fence -DMUT_no_clear_fence
run_case f dropped assert id_relaxed -DMUT_id_relaxed
run_case f dropped assert id_not_acquire -DMUT_id_not_acquire
run_case f dropped assert no_second_look -DMUT_no_second_look
run_case f dropped assert no_reader_fence -DMUT_no_reader_fence

# ---- restart: the daemon is killed, and publisher and subscribers meet it again
run_case f restart ok "no crash, 2 turns" -DCRASHES=0
run_case q restart ok "1 crash, 1 turn" -DTURNS=1
run_case f restart ok "2 crashes, 1 turn" -DCRASHES=2 -DTURNS=1
run_case f restart ok "1 crash, 2 turns"
run_case f restart ok "the same, members late" -DSLOW
run_case f restart ok "2 crashes, members late" -DSLOW -DTURNS=1 -DCRASHES=2
run_case q restart assert no_sweep -DMUT_no_sweep -DTURNS=1
run_case f restart assert sweep_at_once -DMUT_sweep_at_once -DTURNS=1
run_case f restart assert no_window -DMUT_no_window -DTURNS=1
run_case f restart assert attach_in_window -DMUT_attach_in_window -DTURNS=1
run_case f restart assert unclaimed_not_replaced -DMUT_unclaimed_not_replaced -DSLOW -DTURNS=1 -DCRASHES=2
run_case f restart assert confirmed_for_ever -DMUT_confirmed_for_ever -DTURNS=1
run_case f restart assert ids_repeat -DMUT_ids_repeat -DTURNS=1
run_case f restart assert known_is_refused -DMUT_known_is_refused -DTURNS=1
run_case f restart assert place_not_kept -DMUT_place_not_kept -DTURNS=1
run_case f restart assert removed_before_done -DMUT_removed_before_done -DTURNS=1

[ $quick = 1 ] && echo "skipped: what takes longer; run.sh without --quick does all"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
