/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of reports as JSON; the caller owns what is returned. */
#pragma once

#include <jansson.h>

#include "bench/placement.h"
#include "bench/stats.h"

/* {"median", "spread", "samples"} */
json_t *bench_samples_json(const struct bench_samples *samples);
/* {"p50", ... "p99.99", "max", "n"} */
json_t *bench_percentiles_json(const struct bench_histogram *histogram);
/* {"is_moving", "near_ns", "far_ns", "boundary_ns", "n_near", "n_far"} */
json_t *bench_placement_json(const struct bench_placement *placement);
/* {"busy_before", "steal", "switches_per_s", "load"} */
json_t *bench_quiet_json(const struct bench_quiet *quiet);
