/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * torture: kills, stops and restarts everything on a private bus, and accounts for every event
 *
 * Publishers, reliable and lossy subscribers, the ingress (on real packets, as root) and the daemon are killed
 * (SIGKILL), stopped (SIGSTOP, 0.1 to 3 s) or restarted at random moments. A ledger in shared memory knows every event
 * of which publish said yes. At the end: nothing acknowledged is missing without a report, nothing is torn, out of
 * order or reported wrongly, nobody hung, and nothing is left over.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/stress/args.h"
#include "tests/torture/roles.h"
#include "tests/torture/torture.h"

#define LONG_SECONDS 1200u
#define LONG_KILLS 10000u
#define NAP_MOST_US 60000u
#define PROGRESS_NS UINT64_C(10000000000)

static const char *const plant_names[N_PLANTS] = {"nothing", "lost", "torn", "order", "gap", "wedge", "leftover", "deaf"};

static volatile sig_atomic_t is_over;

static void end_early(int signal_number)
{
	is_over = signal_number;
}

/* -- hurting -- */

static bool anybody_stopped(const struct torture *t)
{
	for (unsigned int i = 0; i < t->n_victims; i++)
		if (t->victim[i].resume_ns)
			return true;
	return false;
}

static void hurt_somebody(struct torture *t)
{
	struct victim *victim = &t->victim[dice(t, 0, t->n_victims)];
	bool is_quiet = !anybody_stopped(t);

	if (victim->pid <= 0 || victim->term_ns)
		return;
	if (victim->is_spared || dice(t, 1, 8) == 0) {
		if (!victim->resume_ns && (!victim->is_spared || dice(t, 2, 4) == 0))
			stop_victim(t, victim);
		return;
	}
	if (victim->kind >= DAEMON && dice(t, 3, 4) == 0) {
		restart_victim(t, victim);
		return;
	}
	kill_victim(t, victim);
	if (is_quiet && (victim->kind == RELIABLE || victim->kind == DAEMON || victim->kind == INGRESS))
		measure_recovery(t, victim->kind);
}

/* -- the end -- */

/* Everybody of these kinds ends. False: somebody hangs. */
static bool finish_kinds(struct torture *t, unsigned int kinds, unsigned int seconds)
{
	uint64_t deadline = fair_now_ns(t) + seconds * UINT64_C(1000000000);
	unsigned int n;

	do {
		n = 0;
		for (unsigned int i = 0; i < t->n_victims; i++) {
			struct victim *victim = &t->victim[i];

			if (!(kinds & 1u << victim->kind))
				continue;
			reap_victim(t, victim);
			n += victim->pid > 0;
		}
		nap_us(t, 5000);
	} while (n > 0 && fair_now_ns(t) < deadline);
	if (n == 0)
		return true;
	for (unsigned int i = 0; i < t->n_victims; i++)
		if ((kinds & 1u << t->victim[i].kind) && t->victim[i].pid > 0)
			fprintf(stderr, "torture: a %s did not end\n", kind_names[t->victim[i].kind]);
	t->n_wedges++;
	return false;
}

static void finish(struct torture *t)
{
	for (unsigned int i = 0; i < t->n_victims; i++) {
		if (t->victim[i].pid > 0 && t->victim[i].resume_ns)
			resume_victim(t, &t->victim[i]);
		t->victim[i].start_ns = 0;
	}
	/* Whoever lost the daemon comes back, whoever began attaches. */
	for (unsigned int i = 0; i < 30; i++) {
		tend(t);
		nap_us(t, 100000);
	}
	for (unsigned int i = 0; i < t->n_victims; i++)
		if (t->victim[i].kind == INGRESS && t->victim[i].pid > 0)
			restart_victim(t, &t->victim[i]);
	/* tend() would start it again. */
	finish_kinds(t, 1u << INGRESS, 6 * TERM_MS / 1000);
	if (t->sender > 0) {
		kill(t->sender, SIGKILL);
		waitpid(t->sender, NULL, 0);
	}
	atomic_store_explicit(&t->ledger->must_finish, 1, memory_order_release);
	finish_kinds(t, 1u << PUBLISHER, 15);
	atomic_store_explicit(&t->ledger->must_drain, 1, memory_order_release);
	finish_kinds(t, 1u << RELIABLE | 1u << LOSSY, 30);
}

static void end_everything(struct torture *t)
{
	for (unsigned int i = 0; i < t->n_victims; i++) {
		if (t->victim[i].pid <= 0)
			continue;
		kill(t->victim[i].pid, t->victim[i].kind == DAEMON ? SIGTERM : SIGKILL);
		waitpid(t->victim[i].pid, NULL, 0);
	}
}

/* -- the report -- */

static unsigned int sum(const unsigned int *n)
{
	unsigned int total = 0;

	for (int i = 0; i < N_KINDS; i++)
		total += n[i];
	return total;
}

static void print_kinds(const char *what, const unsigned int *n)
{
	printf("%s %u (", what, sum(n));
	for (int i = 0; i < N_KINDS; i++)
		printf("%s%s %u", i ? ", " : "", kind_names[i], n[i]);
	printf(")\n");
}

static int report(struct torture *t, const struct verdict *v, unsigned int n_leftovers, unsigned int seconds)
{
	unsigned int n_faults = verdict_faults(v) + t->n_wedges + t->n_bad_exits + n_leftovers;

	print_kinds("kills", t->n_kills);
	print_kinds("stops", t->n_stops);
	print_kinds("restarts", t->n_restarts);
	printf("events acknowledged %" PRIu64 ", received %" PRIu64 ", told lost %" PRIu64 "; pairs judged to the last event %" PRIu64
	       " (of the ingress %" PRIu64 "), excused by a dead daemon or a machine that stood still %" PRIu64 "\n",
	       v->acked, v->received, v->told_lost, v->n_pairs, v->n_ingress, v->excused);
	if (t->ingress_path)
		printf("packets sent %" PRIu64 "; ingress started %u times, refused %u times\n", t->ledger->n_packets_sent,
		       t->n_ingresses, t->n_ingress_refused);
	printf("filters given up or asked for %" PRIu64 " (while somebody was not there %" PRIu64 "), events passed over by right %" PRIu64
	       ", looks that had to wait for a ring %" PRIu64 "\n", v->n_calls, v->n_unpromised, v->passed_over, v->n_awaited);
	printf("longest publish %u ms; the machine ran others, or nobody, for %.1f of %u s\n", v->slowest_ms,
	       (double)probes_starved_ns(ledger_now_ns()) / 1e9, seconds);
	if (v->too_many + v->late + v->errors + t->n_bad_exits)
		printf("too many %" PRIu64 ", late %" PRIu64 ", errors %" PRIu64 ", bad exits %u\n", v->too_many, v->late,
		       v->errors, t->n_bad_exits);
	printf("seed %" PRIu64 ", %u s, kills %u: lost %" PRIu64 ", torn %" PRIu64 ", order %" PRIu64 ", gaps %" PRIu64
	       ", wedges over 2 s %u, leftovers %u; recovery p50 %.1f p99 %.1f max %.1f ms (%u); %s\n",
	       t->seed, seconds, sum(t->n_kills), v->lost_acked + v->late, v->torn, v->disordered + v->too_many + v->errors,
	       v->unreported, t->n_wedges, n_leftovers, recovery_ms(t, 0.5), recovery_ms(t, 0.99), recovery_ms(t, 1),
	       t->n_recoveries, n_faults ? "FAILED" : "passed");
	return n_faults ? 1 : 0;
}

/* A planted bug was found if what it should raise is raised; anything else may be raised too. */
static int report_plant(const struct torture *t, const struct verdict *v, unsigned int n_leftovers, enum plant plant)
{
	const uint64_t found[N_PLANTS] = {1, v->lost_acked, v->torn, v->disordered, v->unreported, t->n_wedges, n_leftovers, v->unreported + v->lost_acked};

	printf("planted bug '%s': %s\n", plant_names[plant], found[plant] ? "found" : "NOT FOUND");
	return found[plant] ? 0 : 1;
}

/* -- the whole -- */

/* @n_restless: so many more of each kind of subscriber. */
static void setup(struct torture *t, unsigned int n_publishers, unsigned int n_reliable, unsigned int n_lossy,
		  unsigned int n_restless)
{
	static const enum kind kinds[] = {PUBLISHER, RELIABLE, LOSSY};
	unsigned int n[] = {n_publishers, n_reliable, n_lossy};

	t->victim[t->n_victims++].kind = DAEMON;
	for (int k = 2; k >= 0; k--)
		for (unsigned int i = 0; i < n[k] && t->n_victims < VICTIMS_MAX - 1; i++)
			t->victim[t->n_victims++] = (struct victim){.kind = kinds[k], .is_spared = k > 0 && i == 0};
	for (unsigned int i = 0; i < 2 * n_restless && t->n_victims < VICTIMS_MAX - 1; i++)
		t->victim[t->n_victims++] = (struct victim){.kind = i % 2 ? LOSSY : RELIABLE, .is_restless = true};
	if (t->ingress_path)
		t->victim[t->n_victims++].kind = INGRESS;
}

static bool begin(struct torture *t)
{
	FILE *config = fopen(t->config, "w");

	if (!config)
		return false;
	fprintf(config, "routes = ( { to = \"0.0.0.0/0\"; port = 5001; topic = \"torture/packets\"; } );\n");
	fclose(config);
	start_victim(t, &t->victim[0]);
	for (int i = 0; i < 1000 && access(t->socket, F_OK) != 0; i++)
		nap_us(t, 10000);
	nap_us(t, 200000);
	return access(t->socket, F_OK) == 0;
}

static void show_progress(const struct torture *t, uint64_t begin_ns)
{
	uint64_t acked = 0;

	for (uint32_t i = 0; i < t->ledger->n_publishers; i++)
		acked += t->ledger->publisher[i].acked;
	fprintf(stderr, "%5u s, step %" PRIu64 ": kills %u, publishers %u, subscribers %u, ingresses %u, acknowledged %" PRIu64
		", wedges %u, starved %.1f s\n",
		(unsigned int)((ledger_now_ns() - begin_ns) / 1000000000u), t->n_steps, sum(t->n_kills), t->ledger->n_publishers,
		t->ledger->n_subscribers, t->n_ingresses, acked, t->n_wedges, (double)probes_starved_ns(ledger_now_ns()) / 1e9);
}

/* Until both are reached. */
static void hurt(struct torture *t, unsigned int seconds, unsigned int kills)
{
	uint64_t begin_ns = ledger_now_ns(), shown_ns = begin_ns;

	while (!is_over && (ledger_now_ns() - begin_ns < seconds * UINT64_C(1000000000) || sum(t->n_kills) < kills)) {
		tend(t);
		watch(t);
		nap_us(t, dice(t, 20, NAP_MOST_US));
		hurt_somebody(t);
		t->n_steps++;
		if (t->is_verbose && ledger_now_ns() - shown_ns > PROGRESS_NS) {
			shown_ns = ledger_now_ns();
			show_progress(t, begin_ns);
		}
	}
}

static int run(struct torture *t, unsigned int seconds, unsigned int kills, enum plant plant)
{
	uint64_t begin_ns = ledger_now_ns();
	struct verdict verdict = {.is_quiet = plant != PLANT_NOTHING};
	unsigned int n_leftovers;
	struct leftovers before;
	int r;

	probes_start();
	if (!begin(t)) {
		fprintf(stderr, "torture: %s did not start\n", t->daemon_path);
		end_everything(t);
		return 1;
	}
	leftovers_before(t, &before);
	if (plant == PLANT_LEFTOVER)
		leftovers_plant();
	if (t->ingress_path)
		t->sender = packets_start(t->ledger);
	tend(t);
	nap_us(t, 500000);
	hurt(t, seconds, kills);
	if (is_over)
		printf("ended early, by signal %d\n", (int)is_over);
	finish(t);
	judge(t->ledger, t->outages, t->n_outages, t->ingresses, t->n_ingresses, &verdict);
	nap_us(t, 300000);
	n_leftovers = leftovers_after(t, &before);
	end_everything(t);
	r = report(t, &verdict, n_leftovers, (unsigned int)((ledger_now_ns() - begin_ns) / 1000000000u));
	probes_end();
	return plant == PLANT_NOTHING ? r : report_plant(t, &verdict, n_leftovers, plant);
}

static void remove_directory(const struct torture *t)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", t->directory, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

/* Real packets need root and what the ingress was built with. */
static void find_ingress(struct torture *t, const char *path, bool is_wanted)
{
	if (!is_wanted || access(path, X_OK) != 0 || geteuid() != 0 || !packets_setup())
		printf("without the ingress%s\n", is_wanted ? ": it needs root, and to be built" : "");
	else
		t->ingress_path = path;
}

static const char help[] =
	"Usage: torture [--seconds N] [--kills N] [--long] [--seed N] [--publishers N] [--reliable N] [--lossy N]\n"
	"               [--restless N] [--no-ingress] [--daemon PATH] [--plant BUG] [--verbose]\n"
	"Kills, stops and restarts publishers, subscribers, the ingress and the daemon of a private bus and accounts for\n"
	"every event, until both N seconds and N kills are reached; --long: 20 minutes and 10 000 kills, with progress.\n"
	"Default: 20 s, a seed from the clock (printed). The seed brings back what is done to whom in which step, not\n"
	"the moment within the step. --plant: lost, torn, order, gap, wedge, leftover or deaf; passes when\n"
	"it is found. --restless: so many reliable and so many lossy ones more, which give filters up and ask for them again.\n"
	"Exit: 0 passed, 1 failed, 2 usage.\n";

static enum plant plant_of(const char *name)
{
	for (int i = 0; i < N_PLANTS; i++)
		if (strcmp(plant_names[i], name) == 0)
			return (enum plant)i;
	fprintf(stderr, "torture: no such bug: %s\n", name);
	exit(2);
}

static bool make_directory(struct torture *t)
{
	snprintf(t->directory, sizeof(t->directory), "/tmp/hugebus-torture-XXXXXX");
	if (!mkdtemp(t->directory))
		return false;
	snprintf(t->socket, sizeof(t->socket), "%s/bus.sock", t->directory);
	snprintf(t->config, sizeof(t->config), "%s/bus.conf", t->directory);
	snprintf(t->log, sizeof(t->log), "%s/ingress.log", t->directory);
	return true;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seconds", required_argument, NULL, 's'}, {"kills", required_argument, NULL, 'k'},
		{"seed", required_argument, NULL, 'S'},	   {"publishers", required_argument, NULL, 'p'},
		{"reliable", required_argument, NULL, 'r'}, {"lossy", required_argument, NULL, 'l'},
		{"daemon", required_argument, NULL, 'd'},  {"verbose", no_argument, NULL, 'v'},
		{"long", no_argument, NULL, 'L'},	   {"no-ingress", no_argument, NULL, 'n'},
		{"restless", required_argument, NULL, 'R'}, {"plant", required_argument, NULL, 'P'},   {"help", no_argument, NULL, 'h'},
		{0},
	};
	unsigned int seconds = 20, kills = 0, n_publishers = 3, n_reliable = 2, n_lossy = 2, n_restless = 1;
	static struct torture t;
	char daemon_path[512], ingress_path[512];
	const char *build = getenv("HBUS_BUILD");
	enum plant plant = PLANT_NOTHING;
	bool wants_ingress = true;
	int c, r;

	t.seed = ledger_now_ns() & 0xffffffff;
	snprintf(daemon_path, sizeof(daemon_path), "%s/ctl/daemon/hugebusd", build ? build : "build");
	snprintf(ingress_path, sizeof(ingress_path), "%s/dataplane/hugebus-ingress", build ? build : "build");
	t.daemon_path = daemon_path;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 's': seconds = (unsigned int)kit_number(optarg); break;
		case 'k': kills = (unsigned int)kit_number(optarg); break;
		case 'L': seconds = LONG_SECONDS; kills = LONG_KILLS; t.is_verbose = true; break;
		case 'S': t.seed = kit_number(optarg); break;
		case 'p': n_publishers = (unsigned int)kit_number(optarg); break;
		case 'r': n_reliable = (unsigned int)kit_number(optarg); break;
		case 'l': n_lossy = (unsigned int)kit_number(optarg); break;
		case 'R': n_restless = (unsigned int)kit_number(optarg); break;
		case 'd': t.daemon_path = optarg; break;
		case 'n': wants_ingress = false; break;
		case 'P': plant = plant_of(optarg); break;
		case 'v': t.is_verbose = true; break;
		case 'h': fputs(help, stdout); return 0;
		default: return 2;
		}
	}
	if (optind < argc)
		kit_usage_error("not an option", argv[optind]);
	if (access(t.daemon_path, X_OK) < 0)
		kit_usage_error("there is no daemon to start; HBUS_BUILD or --daemon say where it is", t.daemon_path);
	printf("seed %" PRIu64 "\n", t.seed);
	t.ledger = mmap(NULL, sizeof(*t.ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t.ledger == MAP_FAILED || !make_directory(&t)) {
		perror("torture");
		return 1;
	}
	signal(SIGINT, end_early);
	signal(SIGTERM, end_early);
	t.ledger->plant = plant;
	find_ingress(&t, ingress_path, wants_ingress);
	fflush(stdout);
	setup(&t, n_publishers, n_reliable, n_lossy, n_restless);
	r = run(&t, seconds, kills, plant);
	remove_directory(&t);
	return r;
}
