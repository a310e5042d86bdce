/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The Prometheus text exposition format, version 0.0.4
 *
 * Pure functions. Names of metrics and labels are the caller's and valid; label values are
 * anybody's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ctl/cli/text.h"

struct hbus_prometheus_label {
	const char *name;
	const char *value;
};

/** hbus_prometheus_family() - begin a metric: its HELP and TYPE lines */
void hbus_prometheus_family(struct hbus_text *text, const char *name, const char *type,
			    const char *help);

/** hbus_prometheus_sample() - one line of the metric begun last */
void hbus_prometheus_sample(struct hbus_text *text, const char *name,
			    const struct hbus_prometheus_label *labels, size_t n_labels,
			    uint64_t value);
