/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What `hugebus doctor` looks at: one probe for each thing that a host can lack
 *
 * A probe tries the thing itself where that leaves no trace, else it reads what the kernel says. It
 * changes nothing on the host.
 */
#pragma once

#include <stddef.h>

/* How bad it is; the worst of all decides the exit code. */
enum hbus_doctor_level {
	HBUS_DOCTOR_OK,
	HBUS_DOCTOR_NOTE, /* worth knowing, nothing is missing */
	HBUS_DOCTOR_LESS, /* the bus works with less */
	HBUS_DOCTOR_FATAL /* the bus cannot work */
};

struct hbus_doctor_result {
	enum hbus_doctor_level level;
	char found[192];
	const char *cost; /* what its lack costs; shown unless OK */
	const char *mend; /* a command that mends it; shown unless OK */
};

struct hbus_doctor_check {
	const char *id;
	const char *title;
	void (*probe)(struct hbus_doctor_result *result);
};

/** hbus_doctor_checks() - all of them, in the order in which they are shown */
const struct hbus_doctor_check *hbus_doctor_checks(size_t *ret_n_checks);
