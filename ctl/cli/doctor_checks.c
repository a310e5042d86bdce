/* SPDX-License-Identifier: BSD-3-Clause */
/* What `hugebus doctor` looks at. */
#include "ctl/cli/doctor_checks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/external.h"

/* Of newer headers than the oldest that are built with. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* Below these, rings of the default size for a handful of programs do not fit. */
#define HUGEPAGES_WANTED 16
#define FILES_WANTED 4096
#define MEMLOCK_WANTED (64u << 20)

#define HUGEPAGES_DIR "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static void set(struct hbus_doctor_result *result, enum hbus_doctor_level level, const char *format,
		...) __attribute__((format(printf, 3, 4)));

static void set(struct hbus_doctor_result *result, enum hbus_doctor_level level, const char *format,
		...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(result->found, sizeof(result->found), format, args);
	va_end(args);
	result->level = level;
}

/* First line of a file without its newline; empty when it cannot be read. */
static void read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");

	line[0] = '\0';
	if (!file)
		return;
	if (fgets(line, (int)size, file))
		line[strcspn(line, "\n")] = '\0';
	fclose(file);
}

static uint64_t read_number(const char *path)
{
	char line[32];

	read_line(path, line, sizeof(line));
	return strtoull(line, NULL, 10);
}

/* -- kernel -- */

static void probe_kernel(struct hbus_doctor_result *result)
{
	struct utsname name;
	unsigned int major = 0;
	unsigned int minor = 0;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	result->cost = "untested: the bus is written for Linux 6.1 and later";
	result->mend = "boot a newer kernel";
	set(result, major > 6 || (major == 6 && minor >= 1) ? HBUS_DOCTOR_OK : HBUS_DOCTOR_LESS,
	    "Linux %.64s", name.release);
}

static void probe_seals(struct hbus_doctor_result *result)
{
	int fd = memfd_create("hugebus-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool is_sealed =
		fd >= 0 && ftruncate(fd, 4096) == 0 &&
		fcntl(fd, F_ADD_SEALS,
		      F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0;

	result->cost = "no ring can be made: readers could write";
	result->mend =
		"boot a kernel with CONFIG_MEMFD_CREATE, 5.1 or later; in a sandbox allow memfd_create";
	if (is_sealed)
		set(result, HBUS_DOCTOR_OK, "sealed memfds");
	else
		set(result, HBUS_DOCTOR_FATAL, "memfds cannot be sealed: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void probe_noexec(struct hbus_doctor_result *result)
{
	int fd = memfd_create("hugebus-doctor", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	result->cost =
		"ring files are made not executable by chmod only, which their owner could undo";
	result->mend = "boot Linux 6.3 or later";
	if (fd >= 0) {
		set(result, HBUS_DOCTOR_OK, "MFD_NOEXEC_SEAL");
		close(fd);
	} else {
		set(result, HBUS_DOCTOR_LESS, "no MFD_NOEXEC_SEAL: %s", strerror(errno));
	}
}

static void probe_peer_pidfd(struct hbus_doctor_result *result)
{
	int pair[2];
	int pidfd = -1;
	socklen_t size = sizeof(pidfd);

	result->cost =
		"the daemon watches its clients by process number: were one reused, it would see the end by the connection alone";
	result->mend = "boot Linux 6.5 or later";
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		set(result, HBUS_DOCTOR_FATAL, "no SOCK_SEQPACKET: %s", strerror(errno));
		return;
	}
	if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
		set(result, HBUS_DOCTOR_OK, "SO_PEERPIDFD");
		close(pidfd);
	} else {
		set(result, HBUS_DOCTOR_LESS, "no SO_PEERPIDFD: %s", strerror(errno));
	}
	close(pair[0]);
	close(pair[1]);
}

static void probe_membarrier(struct hbus_doctor_result *result)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	long needed = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED;

	result->cost =
		"all rings are 'isolated': publishers execute a fence at each commit";
	result->mend = "boot a kernel with CONFIG_MEMBARRIER; in a sandbox allow membarrier";
	if (commands >= 0 && (commands & needed) == needed)
		set(result, HBUS_DOCTOR_OK, "expedited membarrier");
	else
		set(result, HBUS_DOCTOR_LESS, "no expedited membarrier");
}

/* -- memory -- */

static void probe_hugepages(struct hbus_doctor_result *result)
{
	uint64_t total = read_number(HUGEPAGES_DIR "nr_hugepages");
	uint64_t available = read_number(HUGEPAGES_DIR "free_hugepages") -
			     read_number(HUGEPAGES_DIR "resv_hugepages");

	result->cost =
		"rings beyond them are made of 4 KiB pages: slower first touch, more TLB misses; DPDK needs --no-huge";
	result->mend =
		"sudo sysctl -w vm.nr_hugepages=64   # before hugebusd starts; in /etc/sysctl.d/ for good";
	if (total == 0)
		set(result, HBUS_DOCTOR_LESS, "no hugepages of 2 MiB");
	else
		set(result, total < HUGEPAGES_WANTED ? HBUS_DOCTOR_LESS : HBUS_DOCTOR_OK,
		    "%llu hugepages of 2 MiB, %llu free (the daemon's reserve is not)",
		    (unsigned long long)total, (unsigned long long)available);
}

static bool has_capability(unsigned int capability)
{
	char line[256];
	unsigned long long mask = 0;
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "CapEff: %llx", &mask) == 1)
			break;
	}
	if (file)
		fclose(file);
	return mask >> capability & 1;
}

static void probe_memlock(struct hbus_doctor_result *result)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_MEMLOCK, &limit);
	result->cost = "AF_XDP cannot register its packet memory beyond the limit";
	result->mend =
		"ulimit -l unlimited   # or LimitMEMLOCK=infinity in the unit, or run with CAP_IPC_LOCK";
	if (limit.rlim_cur == RLIM_INFINITY)
		set(result, HBUS_DOCTOR_OK, "lockable memory: unlimited");
	else
		set(result,
		    limit.rlim_cur >= MEMLOCK_WANTED || has_capability(CAP_IPC_LOCK)
			    ? HBUS_DOCTOR_OK
			    : HBUS_DOCTOR_LESS,
		    "lockable memory: %llu KiB%s", (unsigned long long)limit.rlim_cur / 1024,
		    has_capability(CAP_IPC_LOCK) ? ", lifted by CAP_IPC_LOCK" : "");
}

static void probe_files(struct hbus_doctor_result *result)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	result->cost = "a program holds two descriptors a ring: it reads fewer rings";
	result->mend =
		"ulimit -n 65536   # or LimitNOFILE= in the unit, or /etc/security/limits.d/";
	set(result, limit.rlim_max >= FILES_WANTED ? HBUS_DOCTOR_OK : HBUS_DOCTOR_LESS,
	    "open files: %llu, at most %llu", (unsigned long long)limit.rlim_cur,
	    (unsigned long long)limit.rlim_max);
}

/* -- packets -- */

static void probe_capabilities(struct hbus_doctor_result *result)
{
	static const struct {
		unsigned int number;
		const char *name;
	} wanted[] = { { CAP_NET_ADMIN, "CAP_NET_ADMIN" },
		       { CAP_NET_RAW, "CAP_NET_RAW" },
		       { CAP_BPF, "CAP_BPF" },
		       { CAP_IPC_LOCK, "CAP_IPC_LOCK" } };
	char missing[128] = "";

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (!has_capability(wanted[i].number))
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing),
				 " %s", wanted[i].name);
	}
	result->cost =
		"no packets from a NIC: NET_ADMIN and BPF to attach XDP, NET_RAW for AF_XDP, IPC_LOCK for its memory";
	result->mend =
		"run the ingress as root, or sudo setcap cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep hugebus-ingress";
	if (missing[0])
		set(result, HBUS_DOCTOR_LESS, "without%s", missing);
	else
		set(result, HBUS_DOCTOR_OK, "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_IPC_LOCK");
}

static void probe_bpffs(struct hbus_doctor_result *result)
{
	struct statfs fs;

	result->cost =
		"nothing for the bus, which pins nothing; other BPF programs of this host cannot pin theirs";
	result->mend = "sudo mount -t bpf bpf /sys/fs/bpf";
	if (statfs("/sys/fs/bpf", &fs) == 0 && (uint64_t)fs.f_type == BPF_FS_MAGIC)
		set(result, HBUS_DOCTOR_OK, "bpffs on /sys/fs/bpf");
	else
		set(result, HBUS_DOCTOR_NOTE, "no bpffs on /sys/fs/bpf");
}

static void probe_bpf_object(struct hbus_doctor_result *result)
{
	char path[PATH_MAX];

	result->cost =
		"no XDP filter: unwanted packets are dropped in the poll loop, after they cost a copy";
	result->mend =
		"build with clang and libbpf: sudo apt install clang libbpf-dev && meson setup --reconfigure build && ninja -C build install";
	if (hbus_external_find("hbus_xdp.bpf.o", path, sizeof(path)))
		set(result, HBUS_DOCTOR_OK, "%.180s", path);
	else
		set(result, HBUS_DOCTOR_LESS, "hbus_xdp.bpf.o is not there");
}

static void probe_af_xdp(struct hbus_doctor_result *result)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	result->cost =
		"no packets from a NIC by AF_XDP; DPDK's own drivers, or net_pcap, still work";
	if (fd >= 0) {
		set(result, HBUS_DOCTOR_OK, "AF_XDP sockets");
		close(fd);
	} else if (errno == EPERM || errno == EACCES) {
		result->mend = "run as root or with CAP_NET_RAW";
		set(result, HBUS_DOCTOR_LESS, "AF_XDP is not allowed to this user");
	} else {
		result->mend = "boot a kernel with CONFIG_XDP_SOCKETS";
		set(result, HBUS_DOCTOR_LESS, "no AF_XDP: %s", strerror(errno));
	}
}

static void probe_ingress(struct hbus_doctor_result *result)
{
	char path[PATH_MAX];

	result->cost = "no packets become events; programs on this host are not concerned";
	result->mend = "sudo apt install libdpdk-dev liburcu-dev, then build again";
	if (hbus_external_find("hugebus-ingress", path, sizeof(path)))
		set(result, HBUS_DOCTOR_OK, "%.180s", path);
	else
		set(result, HBUS_DOCTOR_LESS, "hugebus-ingress is not there");
}

/* -- cores -- */

static void probe_cores(struct hbus_doctor_result *result)
{
	char isolated[128];
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	read_line("/sys/devices/system/cpu/isolated", isolated, sizeof(isolated));
	result->cost =
		"the scheduler interrupts polling loops: rare latencies of milliseconds, and a poll loop takes its core from others";
	result->mend =
		"boot with isolcpus=2-3 nohz_full=2-3 rcu_nocbs=2-3 (your cores) and pin the ingress there";
	if (isolated[0])
		set(result, HBUS_DOCTOR_OK, "isolated cores: %s of %ld", isolated, n);
	else
		set(result, HBUS_DOCTOR_LESS, "no isolated cores; %ld online", n);
}

/* -- the daemon -- */

static void probe_daemon(struct hbus_doctor_result *result)
{
	struct hbus_options options = { .struct_size = sizeof(options),
					.name = "hugebus-doctor",
					.connect_timeout_ms = -1 };
	struct hbus *bus;
	int r = hbus_open(hbus_cli_socket_given(), &options, &bus);

	result->cost = "programs cannot meet on this bus; 'embedded:' buses of one process work";
	result->mend = "sudo hugebusd, or hugebusd --socket PATH and HUGEBUS_SOCKET=PATH";
	if (r == 0) {
		set(result, HBUS_DOCTOR_OK, "a daemon answers at %.128s", hbus_cli_socket());
		hbus_close(bus);
	} else {
		set(result, HBUS_DOCTOR_LESS, "no daemon at %.80s: %.80s", hbus_cli_socket(),
		    hbus_error_text());
	}
}

static const struct hbus_doctor_check checks[] = {
	{ "kernel", "Kernel", probe_kernel },
	{ "seals", "Sealed memory", probe_seals },
	{ "noexec_seal", "Memory never executable", probe_noexec },
	{ "peer_pidfd", "Process handles of peers", probe_peer_pidfd },
	{ "membarrier", "Membarrier", probe_membarrier },
	{ "hugepages", "Hugepages", probe_hugepages },
	{ "memlock", "Lockable memory", probe_memlock },
	{ "files", "Open files", probe_files },
	{ "cores", "Isolated cores", probe_cores },
	{ "capabilities", "Capabilities", probe_capabilities },
	{ "bpffs", "BPF file system", probe_bpffs },
	{ "bpf_object", "XDP program", probe_bpf_object },
	{ "af_xdp", "AF_XDP", probe_af_xdp },
	{ "ingress", "Ingress", probe_ingress },
	{ "daemon", "Daemon", probe_daemon },
};

const struct hbus_doctor_check *hbus_doctor_checks(size_t *ret_n_checks)
{
	*ret_n_checks = sizeof(checks) / sizeof(checks[0]);
	return checks;
}
