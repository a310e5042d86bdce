/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus top: samples the bus again and again, on a terminal or as plain text. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/number.h"
#include "ctl/cli/top_frame.h"

static const char help[] =
	"Usage: hugebus top [-d SECONDS] [-n N]\n"
	"Show rates, lag and drops by reason, the busiest first. On a terminal q quits and a space\n"
	"refreshes; otherwise frames are printed one after the other.\n\n"
	"  -d, --delay SECONDS   between two frames (1)\n"
	"  -n, --iterations N    so many frames, each over one delay, then exit\n" HBUS_CLI_HELP_COMMON
	"\n" HBUS_CLI_HELP_EXIT;

/* Alternate screen, no cursor; and back. */
#define SCREEN_ENTER "\033[?1049h\033[?25l"
#define SCREEN_LEAVE "\033[?25h\033[?1049l"
#define SCREEN_HOME "\033[H\033[2J"

struct top {
	struct hbus *bus;
	uint64_t delay_ms;
	uint64_t n_frames; /* 0 = no limit */
	bool is_terminal;
	struct termios saved;
	struct hbus_top_sample before;
	struct hbus_text text;
};

static void enter_terminal(struct top *top)
{
	struct termios raw;

	top->is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) &&
			   tcgetattr(STDIN_FILENO, &top->saved) == 0;
	if (!top->is_terminal)
		return;
	raw = top->saved;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	hbus_text_add(&top->text, SCREEN_ENTER);
}

static void leave_terminal(struct top *top)
{
	if (!top->is_terminal)
		return;
	hbus_text_add(&top->text, SCREEN_LEAVE);
	hbus_cli_write(STDOUT_FILENO, &top->text);
	tcsetattr(STDIN_FILENO, TCSANOW, &top->saved);
}

static void add_frame(struct top *top, const struct hbus_top_sample *now)
{
	struct winsize size = { 0 };

	if (!top->is_terminal) {
		hbus_top_frame(&top->text, &top->before, now, 0, 0);
		hbus_text_add_char(&top->text, '\n');
		return;
	}
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	hbus_text_add(&top->text, SCREEN_HOME);
	hbus_top_frame(&top->text, &top->before, now, size.ws_col,
		       size.ws_row > 1 ? size.ws_row - 1u : 0);
}

/*
 * Takes a sample and, unless it is the first of plain output, shows it. Return: an exit code or
 * -EPIPE...
 */
static int show(struct top *top, bool is_shown)
{
	struct hbus_top_sample now = { 0 };
	int r = hbus_top_sample(&now, top->bus);

	if (r == HBUS_E_DISCONNECTED || r == HBUS_E_TIMEOUT) {
		/* It may come back; the library tries. */
		hbus_top_sample_deinit(&now);
		hbus_text_printf(&top->text, "%sno daemon answers at %s\n",
				 top->is_terminal ? SCREEN_HOME : "", hbus_cli_socket());
		return hbus_cli_write(STDOUT_FILENO, &top->text) < 0 ? HBUS_EXIT_FAULT
								     : HBUS_EXIT_OK;
	}
	if (r < 0) {
		hbus_top_sample_deinit(&now);
		return hbus_cli_fault("top", r, "cannot read the lists");
	}
	if (is_shown)
		add_frame(top, &now);
	hbus_top_sample_deinit(&top->before);
	top->before = now;
	return hbus_cli_write(STDOUT_FILENO, &top->text) < 0 ? HBUS_EXIT_FAULT : HBUS_EXIT_OK;
}

/* Waits one delay. False when the user has enough. */
static bool wait_for_next(const struct top *top)
{
	struct pollfd keyboard = { .fd = top->is_terminal ? STDIN_FILENO : -1, .events = POLLIN };
	uint64_t end_ns = hbus_cli_now_ns() + top->delay_ms * 1000000u;
	char key;

	while (!hbus_cli_is_stopped()) {
		uint64_t now_ns = hbus_cli_now_ns();
		uint64_t left_ms = now_ns < end_ns ? (end_ns - now_ns + 999999) / 1000000u : 0;

		if (left_ms == 0)
			return true;
		if (poll(&keyboard, 1, left_ms > 200 ? 200 : (int)left_ms) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
			return false;
		if (key == ' ')
			return true;
	}
	return false;
}

static int run(struct top *top)
{
	int exit_code = hbus_cli_open("top", NULL, &top->bus);

	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	enter_terminal(top);
	exit_code = show(top, top->is_terminal);
	for (uint64_t n = 0; exit_code == HBUS_EXIT_OK && (top->n_frames == 0 || n < top->n_frames);
	     n++) {
		if (!wait_for_next(top))
			break;
		exit_code = show(top, true);
	}
	leave_terminal(top);
	hbus_top_sample_deinit(&top->before);
	hbus_text_free(&top->text);
	hbus_close(top->bus);
	return exit_code;
}

int hbus_cli_top(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "delay", required_argument, NULL, 'd' },
		{ "iterations", required_argument, NULL, 'n' },
		HBUS_CLI_LONG_OPTIONS,
	};
	static const struct hbus_cli_options options = { "top", help, ":d:n:", long_options };
	struct top top = { .delay_ms = 1000 };
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT)
			return exit_code;
		if (c == 'd' && (!hbus_number_parse_duration(optarg, &top.delay_ms) ||
				 top.delay_ms < 10 || top.delay_ms > 86400000))
			return hbus_cli_usage("top", "-d '%s' is not a time from 0.01 to a day",
					      optarg);
		if (c == 'n' && !hbus_number_parse(optarg, 1, UINT32_MAX, &top.n_frames))
			return hbus_cli_usage("top", "-n '%s' is not a number from 1", optarg);
	}
	if (optind < argc)
		return hbus_cli_usage("top", "unexpected argument '%s'", argv[optind]);
	hbus_cli_catch_signals();
	return run(&top);
}
