/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus reload: let the daemon read its configuration again. */
#include "ctl/cli/cli.h"

static const char help[] =
	"Usage: hugebus reload\n"
	"The daemon reads its configuration again, all or nothing: when there is a fault in it the old one\n"
	"stays and the fault is shown. Needs the admin right.\n\n" HBUS_CLI_HELP_COMMON
	"\n" HBUS_CLI_HELP_EXIT;

int hbus_cli_reload(int argc, char **argv)
{
	static const struct option long_options[] = { HBUS_CLI_LONG_OPTIONS };
	static const struct hbus_cli_options options = { "reload", help, ":", long_options };
	struct hbus *bus;
	int exit_code;
	int r;

	if (hbus_cli_next_option(&options, argc, argv, &exit_code) == HBUS_CLI_EXIT)
		return exit_code;
	if (optind < argc)
		return hbus_cli_usage("reload", "unexpected argument '%s'", argv[optind]);
	exit_code = hbus_cli_open("reload", NULL, &bus);
	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	r = hbus_reload(bus);
	if (r < 0)
		exit_code = hbus_cli_fault("reload", r, "the configuration was not taken");
	hbus_close(bus);
	return exit_code;
}
