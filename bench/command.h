/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sub-commands of `hugebus bench`: one file, one --help and one line in main.c's table each
 *
 * A sub-command gets argv[0] = its own name. It returns the exit code: 0 done, 1 a measurement failed, 2 usage.
 */
#pragma once

int bench_host_main(int argc, char **argv);
int bench_mqtt_main(int argc, char **argv);
