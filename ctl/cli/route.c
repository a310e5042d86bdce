/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus route: say which packets become events of which topic. */
#include <stdio.h>
#include <string.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/list.h"
#include "ctl/cli/number.h"
#include "ctl/cli/route_text.h"

static const char help[] =
	"Usage: hugebus route add DESTINATION TOPIC [--vlan N|any|none]\n"
	"       hugebus route add DESTINATION --batch [--vlan ...]\n"
	"       hugebus route add DESTINATION --number N TOPIC [--vlan ...]\n"
	"       hugebus route remove DESTINATION [--batch | --number N] [--vlan ...]\n"
	"       hugebus route list [--json]\n"
	"Routes say which UDP datagrams the ingress turns into events. They can be changed while packets\n"
	"flow. Of several that fit the longest prefix wins, then exact VLAN, then exact port.\n\n"
	"DESTINATION is ADDRESS[/PREFIX]:PORT:\n"
	"  10.1.2.3:5000  10.0.0.0/8:5000  '*:5000' (all of IPv4)  [2001:db8::]/32:5000  [::]:5000  '10.1.2.3:*'\n\n"
	"      --vlan N          VLAN 1..4094, none = untagged frames, any (the default)\n"
	"      --batch           datagrams hold several events for several topics (the batch format)\n"
	"      --number N        of a batch route: its senders' topic number N is TOPIC\n"
	"      --json            list as JSON\n" HBUS_CLI_HELP_COMMON "\n" HBUS_CLI_HELP_EXIT;

enum { OPTION_VLAN = HBUS_OPTION_OWN, OPTION_BATCH, OPTION_NUMBER };

struct request {
	struct hbus_route route;
	bool is_batch;
	bool has_number;
	bool is_json;
};

static int parse_operands(struct request *request, bool is_add, int argc, char **argv)
{
	struct hbus_route *route = &request->route;
	const char *fault;

	if (argc < 1)
		return hbus_cli_usage("route", "a destination is missing, such as 10.0.0.0/8:5000");
	fault = hbus_route_text_parse(argv[0], route);
	if (fault)
		return hbus_cli_usage("route", "'%s': %s", argv[0], fault);
	route->kind = request->is_batch	    ? HBUS_ROUTE_KIND_BATCH
		      : request->has_number ? HBUS_ROUTE_KIND_BATCH_TOPIC
					    : HBUS_ROUTE_KIND_TOPIC;
	if (argc > 2 || (argc > 1 && request->is_batch))
		return hbus_cli_usage("route", "unexpected argument '%s'", argv[argc > 2 ? 2 : 1]);
	if (argc < 2)
		return is_add && !request->is_batch
			       ? hbus_cli_usage("route", "a topic is missing after '%s'", argv[0])
			       : 0;
	if (hbus_cli_check_topic("route", argv[1]) != 0)
		return HBUS_EXIT_USAGE;
	snprintf(route->topic, sizeof(route->topic), "%s", argv[1]);
	return 0;
}

static int change_route(struct request *request, bool is_add, int argc, char **argv)
{
	char destination[HBUS_ROUTE_TEXT_SIZE];
	struct hbus *bus;
	int exit_code = parse_operands(request, is_add, argc, argv);
	int r;

	if (exit_code == HBUS_EXIT_OK)
		exit_code = hbus_cli_open("route", NULL, &bus);
	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	r = is_add ? hbus_route_add(bus, &request->route) : hbus_route_remove(bus, &request->route);
	/* A removal needs no topic: the daemon takes the route's own. Without a route it has none to take. */
	hbus_route_text_format(&request->route, destination);
	if (r == HBUS_E_INVALID && !is_add && request->route.topic[0] == '\0') {
		hbus_cli_warn("route", "cannot remove %s: there is no such route", destination);
		exit_code = HBUS_EXIT_FAULT;
	} else if (r < 0) {
		exit_code = hbus_cli_fault("route", r, "cannot %s %s", is_add ? "add" : "remove", destination);
	}
	hbus_close(bus);
	return exit_code;
}

static int run(struct request *request, int argc, char **argv)
{
	static const uint32_t kind = HBUS_ROW_ROUTE;
	const char *verb = optind < argc ? argv[optind++] : "list";
	bool is_add = strcmp(verb, "add") == 0;

	if (strcmp(verb, "list") == 0 || strcmp(verb, "ls") == 0)
		return optind < argc ? hbus_cli_usage("route", "list takes no argument")
				     : hbus_list_show("route", &kind, 1, request->is_json);
	if (!is_add && strcmp(verb, "remove") != 0 && strcmp(verb, "rm") != 0)
		return hbus_cli_usage("route", "'%s' is none of add, remove, list", verb);
	if (request->is_batch && request->has_number)
		return hbus_cli_usage(
			"route",
			"--batch and --number exclude each other: the first makes the batch "
			"route, the second names one of its topics");
	return change_route(request, is_add, argc - optind, argv + optind);
}

static int take_option(struct request *request, int c)
{
	uint64_t number;

	switch (c) {
	case OPTION_VLAN:
		return hbus_route_text_parse_vlan(optarg, &request->route.vlan)
			       ? 0
			       : hbus_cli_usage("route",
						"--vlan '%s' is none of 1..4094, any, none",
						optarg);
	case OPTION_NUMBER:
		if (!hbus_number_parse(optarg, 0, UINT32_MAX, &number))
			return hbus_cli_usage("route", "--number '%s' is not a number", optarg);
		request->route.number = (uint32_t)number;
		request->has_number = true;
		return 0;
	case OPTION_BATCH:
		request->is_batch = true;
		return 0;
	default:
		request->is_json = true;
		return 0;
	}
}

int hbus_cli_route(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "vlan", required_argument, NULL, OPTION_VLAN },
		{ "batch", no_argument, NULL, OPTION_BATCH },
		{ "number", required_argument, NULL, OPTION_NUMBER },
		{ "json", no_argument, NULL, 'j' },
		HBUS_CLI_LONG_OPTIONS,
	};
	static const struct hbus_cli_options options = { "route", help, ":j", long_options };
	struct request request = { .route.vlan = HBUS_VLAN_ANY };
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT || (exit_code = take_option(&request, c)) != 0)
			return exit_code;
	}
	return run(&request, argc, argv);
}
