/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus doctor: what this host lacks, what it costs, how to mend it. */
#include "ctl/cli/doctor_checks.h"

#include "ctl/cli/cli.h"

static const char help[] =
	"Usage: hugebus doctor [--json]\n"
	"Look for each thing that this host can lack, say what the lack costs and how to mend it. Changes\n"
	"nothing. Capabilities and limits are those of the user who calls.\n\n"
	"      --json            an array of objects: check, level, found, cost, mend\n" HBUS_CLI_HELP_COMMON
	"\n"
	"Exit codes: 0 all is there, 1 something is missing and the bus works with less, 2 it cannot work\n"
	"(or wrong usage).\n";

static const char *const level_names[] = { "ok", "note", "less", "fatal" };

static int exit_code_of(enum hbus_doctor_level worst)
{
	return worst == HBUS_DOCTOR_FATAL ? 2 : worst == HBUS_DOCTOR_LESS ? 1 : 0;
}

static void add_lines(struct hbus_text *text, const struct hbus_doctor_check *check,
		      const struct hbus_doctor_result *result)
{
	hbus_text_printf(text, "%-5s %-25s ", level_names[result->level], check->title);
	hbus_text_add_safe(text, result->found);
	hbus_text_add_char(text, '\n');
	if (result->level == HBUS_DOCTOR_OK)
		return;
	if (result->cost)
		hbus_text_printf(text, "        costs: %s\n", result->cost);
	if (result->mend)
		hbus_text_printf(text, "        mend:  %s\n", result->mend);
}

static json_t *json_of(const struct hbus_doctor_check *check,
		       const struct hbus_doctor_result *result)
{
	bool is_ok = result->level == HBUS_DOCTOR_OK;
	struct hbus_text found = { 0 };
	json_t *object;

	hbus_text_add_safe(&found, result->found);
	object = json_pack("{s:s, s:s, s:s, s:s?, s:s?}", "check", check->id, "level",
			   level_names[result->level], "found", hbus_text_string(&found), "cost",
			   is_ok ? NULL : result->cost, "mend", is_ok ? NULL : result->mend);
	hbus_text_free(&found);
	return object;
}

static int run(bool is_json)
{
	enum hbus_doctor_level worst = HBUS_DOCTOR_OK;
	json_t *array = json_array();
	struct hbus_text text = { 0 };
	size_t n_checks;
	const struct hbus_doctor_check *checks = hbus_doctor_checks(&n_checks);
	int r;

	for (size_t i = 0; i < n_checks; i++) {
		struct hbus_doctor_result result = { 0 };

		checks[i].probe(&result);
		if (result.level > worst)
			worst = result.level;
		add_lines(&text, &checks[i], &result);
		json_array_append_new(array, json_of(&checks[i], &result));
	}
	if (is_json) {
		r = hbus_cli_print_json("doctor", array);
	} else {
		r = hbus_cli_print("doctor", &text);
		json_decref(array);
	}
	hbus_text_free(&text);
	return r != HBUS_EXIT_OK ? r : exit_code_of(worst);
}

int hbus_cli_doctor(int argc, char **argv)
{
	static const struct option long_options[] = { { "json", no_argument, NULL, 'j' },
						      HBUS_CLI_LONG_OPTIONS };
	static const struct hbus_cli_options options = { "doctor", help, ":j", long_options };
	bool is_json = false;
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT)
			return exit_code;
		is_json = true;
	}
	if (optind < argc)
		return hbus_cli_usage("doctor", "unexpected argument '%s'", argv[optind]);
	return run(is_json);
}
