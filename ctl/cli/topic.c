/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus topic: declare, remove and list topics. */
#include <string.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/list.h"

static const char help[] =
	"Usage: hugebus topic add NAME... [--type TYPE] [--content-type TYPE]\n"
	"       hugebus topic remove NAME...\n"
	"       hugebus topic list [--json]\n"
	"A declared topic keeps its attributes, also when nobody publishes or subscribes and when the\n"
	"daemon is started again. Publishing to a topic does not need a declaration.\n\n"
	"      --type TYPE       CloudEvents type of its events\n"
	"      --content-type TYPE  what its payloads are, such as application/json\n"
	"      --json            list as JSON\n" HBUS_CLI_HELP_COMMON "\n" HBUS_CLI_HELP_EXIT;

enum { OPTION_TYPE = HBUS_OPTION_OWN, OPTION_CONTENT_TYPE };

struct request {
	const char *type;
	const char *content_type;
	bool is_json;
	bool is_add;
};

static int change_topics(const struct request *request, char **names, int n_names)
{
	struct hbus *bus;
	int exit_code =
		n_names > 0 ? HBUS_EXIT_OK : hbus_cli_usage("topic", "a topic name is missing");
	int r;

	for (int i = 0; i < n_names && exit_code == HBUS_EXIT_OK; i++)
		exit_code = hbus_cli_check_topic("topic", names[i]);
	if (exit_code == HBUS_EXIT_OK)
		exit_code = hbus_cli_open("topic", NULL, &bus);
	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	for (int i = 0; i < n_names && exit_code == HBUS_EXIT_OK; i++) {
		r = request->is_add ? hbus_topic_declare(bus, names[i], request->type,
							 request->content_type)
				    : hbus_topic_remove(bus, names[i]);
		if (r < 0)
			exit_code = hbus_cli_fault("topic", r, "cannot %s '%s'",
						   request->is_add ? "add" : "remove", names[i]);
	}
	hbus_close(bus);
	return exit_code;
}

static int run(struct request *request, int argc, char **argv)
{
	static const uint32_t kind = HBUS_ROW_TOPIC;
	const char *verb = optind < argc ? argv[optind++] : "list";

	if (strcmp(verb, "list") == 0 || strcmp(verb, "ls") == 0)
		return optind < argc ? hbus_cli_usage("topic", "list takes no argument")
				     : hbus_list_show("topic", &kind, 1, request->is_json);
	request->is_add = strcmp(verb, "add") == 0;
	if (!request->is_add && strcmp(verb, "remove") != 0 && strcmp(verb, "rm") != 0)
		return hbus_cli_usage("topic", "'%s' is none of add, remove, list", verb);
	return change_topics(request, argv + optind, argc - optind);
}

int hbus_cli_topic(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "type", required_argument, NULL, OPTION_TYPE },
		{ "content-type", required_argument, NULL, OPTION_CONTENT_TYPE },
		{ "json", no_argument, NULL, 'j' },
		HBUS_CLI_LONG_OPTIONS,
	};
	static const struct hbus_cli_options options = { "topic", help, ":j", long_options };
	struct request request = { 0 };
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT)
			return exit_code;
		if (c == OPTION_TYPE)
			request.type = optarg;
		else if (c == OPTION_CONTENT_TYPE)
			request.content_type = optarg;
		else
			request.is_json = true;
	}
	return run(&request, argc, argv);
}
