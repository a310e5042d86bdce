/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads the file of predefined topics. */
#include "dataplane/mqttsn/predefined.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SIZE = 1024 };

static int read_line(struct hbus_sn *engine, char *line)
{
	unsigned long id;
	char *end;

	line[strcspn(line, "\r\n")] = '\0';
	line += strspn(line, " \t");
	if (*line == '\0' || *line == '#')
		return 0;
	errno = 0;
	id = strtoul(line, &end, 10);
	if (end == line || (*end != ' ' && *end != '\t') || id == 0 || id >= HBUS_SN_TOPIC_ID_NONE)
		return -EINVAL;
	return hbus_sn_predefine(engine, (uint16_t)id, end + strspn(end, " \t"));
}

int hbus_sn_predefined_read(struct hbus_sn *engine, const char *path,
			    void (*log)(const char *sentence))
{
	char line[LINE_SIZE], sentence[LINE_SIZE];
	FILE *file = fopen(path, "re");
	unsigned int line_no = 0;
	int r = 0;

	if (!file) {
		r = -errno;
		snprintf(sentence, sizeof(sentence), "%s: %s", path, strerror(-r));
		log(sentence);
		return r;
	}
	while (r == 0 && fgets(line, sizeof(line), file)) {
		line_no++;
		/* The rest of a line that is too long is no line. */
		r = strchr(line, '\n') || feof(file) ? read_line(engine, line) : -EINVAL;
	}
	fclose(file);
	if (r < 0) {
		snprintf(sentence, sizeof(sentence), "%s:%u: %s", path, line_no,
			 r == -EEXIST ? "an identifier or a name that was there before" :
			 r == -EINVAL ? "not IDENTIFIER NAME, with 1..65534 and a topic without wildcards" :
					strerror(-r));
		log(sentence);
	}
	return r;
}
