/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: what it may hold, and every kind of error with file and line. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/daemon/config.h"

static char path[64];
static struct hbus_config config;
static struct hbus_config_error error;

static int load(const char *text)
{
	int fd;

	strcpy(path, "/tmp/hugebus-test-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	memset(&config, 0xee, sizeof(config));
	error.text[0] = '\0';
	fd = hbus_config_load(path, &config, &error);
	unlink(path);
	return fd;
}

/* @text is refused at @line, and the sentence says @why. */
static void refuses(const char *text, int line, const char *why)
{
	char place[96];
	int r = load(text);

	snprintf(place, sizeof(place), "%s:%d: ", path, line);
	cr_assert_eq(r, -EINVAL, "accepted: %s", text);
	cr_assert_eq(strncmp(error.text, place, strlen(place)), 0, "'%s' for %s", error.text, text);
	cr_assert_not_null(strstr(error.text, why), "'%s' for %s", error.text, text);
	for (size_t i = 0; i < sizeof(config); i++)
		cr_assert_eq(((unsigned char *)&config)[i], 0xee);
}

Test(config, an_empty_file_gives_the_defaults)
{
	struct hbus_config defaults;

	cr_assert_eq(load(""), 0, "%s", error.text);
	hbus_config_init(&defaults);
	cr_assert_eq(memcmp(&config, &defaults, sizeof(config)), 0);
	hbus_config_deinit(&config);
}

Test(config, reads_every_setting_of_the_daemon)
{
	cr_assert_eq(load("daemon = { socket = \"/run/x/s\"; socket_mode = \"0640\"; socket_group = \"root\";\n"
			  "state = \"/var/x\"; log_level = \"debug\"; reserve_pages = 3;\n"
			  "capacity = \"256K\"; stall_ms = 77; };"), 0, "%s", error.text);
	cr_assert_str_eq(config.socket_path, "/run/x/s");
	cr_assert_eq(config.socket_mode, 0640);
	cr_assert_eq(config.socket_gid, 0);
	cr_assert_str_eq(config.state_dir, "/var/x");
	cr_assert_eq(config.log_level, HBUS_LOG_DEBUG);
	cr_assert_eq(config.reserve_pages, 3);
	cr_assert_eq(config.capacity, 262144);
	cr_assert_eq(config.stall_ms, 77);
	hbus_config_deinit(&config);
}

Test(config, reads_topics_and_routes)
{
	cr_assert_eq(load("topics = ( { name = \"a\"; type = \"t\"; content_type = \"c\"; own_ring = true; },\n"
			  "{ name = \"b\"; } );\n"
			  "routes = ( { to = \"192.0.2.0/24\"; port = 5000; topic = \"a\"; },\n"
			  "{ to = \"2001:db8::\"; vlan = 0; port = \"any\"; batch = (\n"
			  "{ number = 0; topic = \"a\"; }, { number = 65535; topic = \"b\"; } ); } );"),
		     0, "%s", error.text);
	cr_assert_eq(config.n_topics, 2);
	cr_assert(config.topics[0].is_hot);
	cr_assert_str_eq(config.topics[0].content_type, "c");
	cr_assert_str_eq(config.topics[1].type, "");
	cr_assert_eq(config.n_routes, 4);
	cr_assert_eq(config.routes[0].prefix_len, 24);
	cr_assert_eq(config.routes[0].port, 5000);
	cr_assert_eq(config.routes[0].vlan, HBUS_ROUTE_VLAN_ANY);
	cr_assert_eq(config.routes[0].kind, HBUS_ROUTE_TOPIC);
	cr_assert_eq(memcmp(config.routes[0].address, "\xc0\0\2\0", 4), 0);
	cr_assert_eq(config.routes[1].kind, HBUS_ROUTE_BATCH);
	cr_assert_eq(config.routes[1].prefix_len, 128);
	cr_assert_eq(config.routes[1].port, 0);
	cr_assert_eq(config.routes[1].vlan, 0);
	cr_assert_str_eq(config.routes[1].topic, "");
	cr_assert_eq(config.routes[3].kind, HBUS_ROUTE_BATCH_TOPIC);
	cr_assert_eq(config.routes[3].number, 65535);
	cr_assert_str_eq(config.routes[3].topic, "b");
	hbus_config_deinit(&config);
}

Test(config, reads_sources_policy_and_quotas)
{
	cr_assert_eq(load("sources = { otherwise = \"deny\"; rate = 10; burst = 5;\n"
			  "rules = ( { from = \"10.0.0.0/8\"; action = \"allow\"; } ); };\n"
			  "policy = ( { user = \"root\"; filter = \"a/#\"; allow = [ \"publish\", \"admin\" ]; },\n"
			  "{ anybody = true; filter = \"b\"; deny = [ \"reliable\" ]; },\n"
			  "{ gid = 7; filter = \"c\"; allow = [ \"subscribe\" ]; } );\n"
			  "quotas = { total = { rings = 9; }; each = { bytes = \"1M\"; requests_per_s = 3; };\n"
			  "users = ( { uid = 5; topics = 1; } ); };"), 0, "%s", error.text);
	cr_assert(config.is_source_denied);
	cr_assert_eq(config.source_rate, 10);
	cr_assert_eq(config.n_sources, 1);
	cr_assert_not(config.sources[0].is_deny);
	cr_assert_eq(config.n_rules, 3);
	cr_assert_eq(config.rules[0].subject, HBUS_SUBJECT_UID);
	cr_assert_eq(config.rules[0].rights, HBUS_RIGHT_PUBLISH | HBUS_RIGHT_ADMIN);
	cr_assert(config.rules[0].is_allowed);
	cr_assert_eq(config.rules[1].subject, HBUS_SUBJECT_ANY);
	cr_assert_not(config.rules[1].is_allowed);
	cr_assert_eq(config.rules[2].subject, HBUS_SUBJECT_GID);
	cr_assert_eq(config.rules[2].id, 7);
	cr_assert_eq(config.quota.total[HBUS_QUOTA_RINGS], 9);
	cr_assert_eq(config.quota.limits.max[HBUS_QUOTA_BYTES], 1 << 20);
	cr_assert_eq(config.quota.n_overrides, 1);
	cr_assert_eq(config.quota.overrides[0].limits.max[HBUS_QUOTA_TOPICS], 1);
	cr_assert_eq(config.quota.overrides[0].limits.max[HBUS_QUOTA_BYTES], 1 << 20);
	cr_assert_eq(config.quota.overrides[0].limits.requests_per_s, 3);
	hbus_config_deinit(&config);
}

Test(config, reads_rules_about_clients_of_a_door)
{
	cr_assert_eq(load("policy = ( { client = \"ann\"; filter = \"a/#\"; allow = [ \"publish\", \"subscribe\" ]; },\n"
			  "{ client = \"*\"; filter = \"b\"; deny = [ \"publish\" ]; } );\n"), 0, "%s", error.text);
	cr_assert_eq(config.n_rules, 2);
	cr_assert_eq(config.rules[0].subject, HBUS_SUBJECT_CLIENT);
	cr_assert_str_eq(config.rules[0].client, "ann");
	cr_assert_str_eq(config.rules[1].client, "*");
	hbus_config_deinit(&config);
	cr_assert_neq(load("policy = ( { client = \"ann\"; filter = \"a\"; allow = [ \"reliable\" ]; } );\n"), 0);
	cr_assert_neq(load("policy = ( { client = \"ann\"; uid = 1; filter = \"a\"; allow = [ \"publish\" ]; } );\n"), 0);
}

Test(config, syntax_errors_name_the_line)
{
	refuses("daemon = {\n  stall_ms = ;\n};", 2, "syntax error");
	refuses("daemon = { };\n\ndaemon = { };", 3, "duplicate");
}

Test(config, unknown_settings_are_errors)
{
	refuses("\nfoo = 1;", 2, "unknown setting 'foo'");
	refuses("daemon = {\n stal_ms = 1; };", 2, "unknown setting 'stal_ms'");
	refuses("topics = (\n{ name = \"a\";\nkind = 1; } );", 3, "unknown setting 'kind'");
	refuses("routes = ( { to = \"::\"; topic = \"a\";\nx = 1; } );", 2, "unknown setting 'x'");
	refuses("routes = ( { to = \"::\"; batch = ( { number = 1; topic = \"a\";\nx = 1; } ); } );", 2,
		"unknown setting 'x'");
	refuses("sources = {\nx = 1; };", 2, "unknown setting 'x'");
	refuses("policy = ( {\nx = 1; } );", 2, "unknown setting 'x'");
	refuses("quotas = { each = {\nx = 1; }; };", 2, "unknown setting 'x'");
	refuses("quotas = { total = {\nrequests_per_s = 1; }; };", 2, "unknown setting");
}

Test(config, wrong_types_are_errors)
{
	refuses("daemon = 1;", 1, "a group");
	refuses("\ntopics = { };", 2, "topics are a list");
	refuses("topics = (\n1 );", 2, "a group");
	refuses("daemon = {\nsocket = 1; };", 2, "'socket' is a string");
	refuses("daemon = {\nstall_ms = \"1\"; };", 2, "'stall_ms' is a whole number");
	refuses("daemon = {\ncapacity = 1.5; };", 2, "number of bytes");
	refuses("daemon = {\nlog_level = 3; };", 2, "one of \"error\"");
	refuses("daemon = {\nsocket_group = 3; };", 2, "name of a group");
	refuses("topics = ( {\nname = 3; } );", 2, "'name' is a string");
	refuses("topics = ( { name = \"a\";\nown_ring = 1; } );", 2, "true or false");
	refuses("policy = ( { uid = 1; filter = \"a\";\nallow = \"publish\"; } );", 2, "rights are a list");
	refuses("policy = ( { uid = 1; filter = \"a\";\nallow = [ 1 ]; } );", 2, "a right is one of");
	refuses("routes = (\n{ to = 5; topic = \"a\"; } );", 2, "an address such as");
}

Test(config, wrong_values_are_errors)
{
	refuses("daemon = {\nstall_ms = 0; };", 2, "from 1 to 3600000");
	refuses("daemon = {\nstall_ms = -1; };", 2, "from 1 to 3600000");
	refuses("daemon = {\nstall_ms = 3600001; };", 2, "from 1 to 3600000");
	refuses("daemon = {\ncapacity = 65535; };", 2, "from 65536 to");
	refuses("daemon = {\ncapacity = 65537; };", 2, "power of two");
	refuses("daemon = {\ncapacity = \"256M\"; };", 2, "from 65536 to");
	refuses("daemon = {\ncapacity = \"2X\"; };", 2, "number of bytes");
	refuses("daemon = {\ncapacity = \"99999999999999999999\"; };", 2, "number of bytes");
	refuses("daemon = {\nreserve_pages = 65537; };", 2, "from 0 to 65536");
	refuses("daemon = {\nsocket = \"relative\"; };", 2, "begins with '/'");
	refuses("daemon = {\nsocket_mode = \"888\"; };", 2, "octal");
	refuses("daemon = {\nsocket_mode = \"1777\"; };", 2, "octal");
	refuses("daemon = {\nsocket_group = \"no such group\"; };", 2, "there is no group");
	refuses("topics = ( {\nname = \"a/+\"; } );", 2, "no wildcard");
	refuses("topics = (\n{ type = \"a\"; } );", 2, "'name' is missing");
	refuses("topics = (\n{ name = \"a\"; type = \"\\xff\"; } );", 2, "'type' is well-formed UTF-8");
	refuses("topics = (\n{ name = \"a\"; content_type = \"a\\nb\"; } );", 2, "'content_type' is well-formed UTF-8");
	refuses("policy = ( { uid = 1;\nfilter = \"a#\"; allow = [ \"publish\" ]; } );", 2, "'#' stands only");
	refuses("policy = (\n{ filter = \"a\"; allow = [ \"publish\" ]; } );", 2, "a rule has one of");
	refuses("policy = (\n{ uid = 1; gid = 1; filter = \"a\"; allow = [ \"publish\" ]; } );", 2, "a rule has one of");
	refuses("policy = (\n{ uid = 1; filter = \"a\"; } );", 2, "either 'allow' or 'deny'");
	refuses("policy = ( { uid = 1; filter = \"a\";\nallow = [ ]; } );", 2, "at least one right");
	refuses("policy = ( {\nuser = \"no such user\"; filter = \"a\"; allow = [ \"publish\" ]; } );", 2, "there is no user");
	refuses("policy = ( {\nanybody = false; filter = \"a\"; allow = [ \"publish\" ]; } );", 2, "'anybody' is true");
	refuses("sources = {\nrate = 1; };", 1, "'rate' needs a 'burst'");
	refuses("sources = { rules = (\n{ from = \"::\"; } ); };", 2, "'from' and 'action'");
	refuses("quotas = { users = (\n{ rings = 1; } ); };", 2, "'user' or 'uid'");
	refuses("quotas = { each = {\nrequests_per_s = 0; }; };", 2, "from 1 to");
}

Test(config, wrong_routes_are_errors)
{
	refuses("routes = (\n{ topic = \"a\"; } );", 2, "'to' is missing");
	refuses("routes = (\n{ to = \"::\"; } );", 2, "either 'topic' or 'batch'");
	refuses("routes = (\n{ to = \"1.2.3\"; topic = \"a\"; } );", 2, "not an IPv4 or IPv6");
	refuses("routes = (\n{ to = \"1.2.3.4/33\"; topic = \"a\"; } );", 2, "longer than the address");
	refuses("routes = (\n{ to = \"1.2.3.4/\"; topic = \"a\"; } );", 2, "not an IPv4 or IPv6");
	refuses("routes = (\n{ to = \"1.2.3.4/24\"; topic = \"a\"; } );", 2, "bits beyond its prefix");
	refuses("routes = ( { to = \"::\"; topic = \"a\";\nport = 65536; } );", 2, "from 1 to 65535");
	refuses("routes = ( { to = \"::\"; topic = \"a\";\nport = 0; } );", 2, "from 1 to 65535");
	refuses("routes = ( { to = \"::\"; topic = \"a\";\nvlan = 4095; } );", 2, "from 0 to 4094");
	refuses("routes = ( { to = \"::\"; topic = \"a\";\nvlan = \"all\"; } );", 2, "number or \"any\"");
	refuses("routes = ( { to = \"::\"; batch = (\n{ topic = \"a\"; } ); } );", 2, "'number' is missing");
	refuses("routes = ( { to = \"::\"; batch = (\n{ number = 65536; topic = \"a\"; } ); } );", 2, "65535");
}

Test(config, what_is_named_twice_is_an_error)
{
	refuses("topics = ( { name = \"a\"; },\n{ name = \"a\"; } );", 2, "named before");
	refuses("routes = ( { to = \"::\"; topic = \"a\"; },\n{ to = \"::\"; topic = \"b\"; } );", 2, "already");
	refuses("routes = ( { to = \"::\"; batch = ( { number = 1; topic = \"a\"; },\n"
		"{ number = 1; topic = \"b\"; } ); } );", 2, "already");
	refuses("sources = { rules = ( { from = \"::\"; action = \"deny\"; },\n"
		"{ from = \"::\"; action = \"allow\"; } ); };", 2, "already");
	refuses("quotas = { users = ( { uid = 1; },\n{ uid = 1; } ); };", 2, "already");
}

Test(config, what_is_no_file_is_an_error_with_its_name)
{
	cr_assert_eq(hbus_config_load("/nonexistent/hugebus.conf", &config, &error), -ENOENT);
	cr_assert_not_null(strstr(error.text, "/nonexistent/hugebus.conf: No such file"));
	cr_assert_lt(hbus_config_load("/tmp", &config, &error), 0);
	cr_assert_not_null(strstr(error.text, "not a file"));
}

/* The shipped file, as it is and with every setting taken out of its comment. */
static void read_shipped(char *text, size_t size, bool with_settings)
{
	FILE *file = fopen(HBUS_SOURCE_ROOT "/packaging/hugebus.conf", "r");
	char line[512];

	cr_assert_not_null(file);
	*text = '\0';
	while (fgets(line, sizeof(line), file)) {
		bool is_setting = line[0] == '#' && line[1] != '\n' &&
				  (line[1] != ' ' || strncmp(line + 1, "   ", 3) == 0);

		strncat(text, with_settings && is_setting ? line + 1 : line,
			size - strlen(text) - 1);
	}
	fclose(file);
}

Test(config, the_shipped_file_is_valid_and_changes_nothing)
{
	static char text[32768];
	struct hbus_config defaults;

	read_shipped(text, sizeof(text), false);
	cr_assert_eq(load(text), 0, "%s", error.text);
	hbus_config_init(&defaults);
	cr_assert_eq(memcmp(&config, &defaults, sizeof(config)), 0);
}

Test(config, the_shipped_file_shows_valid_settings_and_the_defaults)
{
	static char text[32768];
	struct hbus_config defaults;

	read_shipped(text, sizeof(text), true);
	cr_assert_eq(load(text), 0, "%s", error.text);
	hbus_config_init(&defaults);
	cr_assert_eq(config.socket_mode, defaults.socket_mode);
	cr_assert_eq(config.log_level, defaults.log_level);
	cr_assert_eq(config.reserve_pages, defaults.reserve_pages);
	cr_assert_eq(config.capacity, defaults.capacity);
	cr_assert_eq(config.stall_ms, defaults.stall_ms);
	cr_assert_eq(config.source_rate, defaults.source_rate);
	cr_assert_eq(config.is_source_denied, defaults.is_source_denied);
	cr_assert_eq(memcmp(&config.quota.limits, &defaults.quota.limits, sizeof(defaults.quota.limits)), 0);
	cr_assert_eq(memcmp(config.quota.total + 1, defaults.quota.total + 1,
			    sizeof(defaults.quota.total) - sizeof(defaults.quota.total[0])), 0);
	cr_assert_eq(config.n_topics, 2);
	cr_assert_eq(config.n_routes, 5);
	cr_assert_eq(config.n_sources, 2);
	cr_assert_eq(config.n_rules, 5);
	cr_assert_eq(config.quota.n_overrides, 1);
	hbus_config_deinit(&config);
}
