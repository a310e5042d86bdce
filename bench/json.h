/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of a report as JSON, for programs with results of another shape. The caller owns what is returned. */
#pragma once

#include <jansson.h>

#include "bench/report.h"

/* What docs/CLI.md says of a run: all but the results. */
json_t *bench_head_json(const struct bench_report *report);
/* And of a result: "failed", "value" to "corrected_ns", "distances", "near", "far"; without its name. */
json_t *bench_figures_json(const struct bench_report *report, const struct bench_result *result);
