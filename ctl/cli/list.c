/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus ls: the daemon's lists as tables or JSON. */
#include "ctl/cli/list.h"

#include <stdio.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/guess.h"
#include "ctl/cli/rows.h"

static const char help[] =
	"Usage: hugebus ls [--json] [LIST]...\n"
	"Show what the bus knows.\n\n"
	"Lists: topics rings clients subscribers attachments routes quotas counters daemon\n"
	"       (without any: topics, rings and subscribers)\n\n"
	"      --json            an array of objects; of several lists an object of arrays\n" HBUS_CLI_HELP_COMMON
	"\n" HBUS_CLI_HELP_EXIT;

#define LISTS_MAX 16

static int print_tables(const char *command, struct hbus *bus, const uint32_t *list_kinds,
			size_t n_kinds)
{
	struct hbus_text text = { 0 };
	int exit_code = HBUS_EXIT_OK;

	for (size_t i = 0; i < n_kinds && exit_code == HBUS_EXIT_OK; i++) {
		struct hbus_rows rows = { 0 };
		int r = hbus_rows_fetch(&rows, bus, list_kinds[i]);

		if (n_kinds > 1)
			hbus_text_printf(&text, "%s%s (%zu)\n", i > 0 ? "\n" : "",
					 hbus_rows_kind_name(list_kinds[i]), rows.n_rows);
		if (r < 0)
			exit_code = hbus_cli_fault(command, r, "cannot list %s",
						   hbus_rows_kind_name(list_kinds[i]));
		else
			hbus_rows_print(&rows, list_kinds[i], &text);
		hbus_rows_deinit(&rows);
	}
	if (exit_code == HBUS_EXIT_OK)
		exit_code = hbus_cli_print(command, &text);
	hbus_text_free(&text);
	return exit_code;
}

static int print_json(const char *command, struct hbus *bus, const uint32_t *list_kinds,
		      size_t n_kinds)
{
	json_t *root = n_kinds > 1 ? json_object() : NULL;

	for (size_t i = 0; i < n_kinds; i++) {
		struct hbus_rows rows = { 0 };
		int r = hbus_rows_fetch(&rows, bus, list_kinds[i]);
		json_t *array = r < 0 ? NULL : hbus_rows_json(&rows, list_kinds[i]);

		hbus_rows_deinit(&rows);
		if (!array) {
			json_decref(root);
			return hbus_cli_fault(command, r, "cannot list %s",
					      hbus_rows_kind_name(list_kinds[i]));
		}
		if (n_kinds == 1)
			root = array;
		else
			json_object_set_new(root, hbus_rows_kind_name(list_kinds[i]), array);
	}
	return hbus_cli_print_json(command, root);
}

int hbus_list_show(const char *command, const uint32_t *list_kinds, size_t n_kinds, bool is_json)
{
	struct hbus *bus;
	int exit_code = hbus_cli_open(command, NULL, &bus);

	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	exit_code = is_json ? print_json(command, bus, list_kinds, n_kinds)
			    : print_tables(command, bus, list_kinds, n_kinds);
	hbus_close(bus);
	return exit_code;
}

static int unknown_list(const char *name)
{
	const char *names[HBUS_ROW_DAEMON];
	const char *guess;

	for (uint32_t kind = 1; kind <= HBUS_ROW_DAEMON; kind++)
		names[kind - 1] = hbus_rows_kind_name(kind);
	guess = hbus_guess_closest(name, names, HBUS_ROW_DAEMON);
	if (guess)
		return hbus_cli_usage("ls", "there is no list '%s': did you mean '%s'?", name,
				      guess);
	return hbus_cli_usage("ls", "there is no list '%s'", name);
}

int hbus_cli_ls(int argc, char **argv)
{
	static const struct option long_options[] = { { "json", no_argument, NULL, 'j' },
						      HBUS_CLI_LONG_OPTIONS };
	static const struct hbus_cli_options options = { "ls", help, ":j", long_options };
	uint32_t list_kinds[LISTS_MAX] = { HBUS_ROW_TOPIC, HBUS_ROW_RING, HBUS_ROW_SUBSCRIBER };
	size_t n_kinds = 0;
	bool is_json = false;
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT)
			return exit_code;
		is_json = true;
	}
	for (; optind < argc; optind++) {
		if (n_kinds == LISTS_MAX)
			return hbus_cli_usage("ls", "at most %d lists", LISTS_MAX);
		list_kinds[n_kinds] = hbus_rows_kind(argv[optind]);
		if (list_kinds[n_kinds++] == 0)
			return unknown_list(argv[optind]);
	}
	return hbus_list_show("ls", list_kinds, n_kinds ? n_kinds : 3, is_json);
}
