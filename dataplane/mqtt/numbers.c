/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers to pointers, by open addressing. */
#include "dataplane/mqtt/numbers.h"

#include <stdlib.h>

#include "ctl/proto/siphash.h"

enum { SLOTS_MIN = 64 };

static size_t home_of(const struct hbus_mqtt_numbers *numbers, uint64_t number)
{
	return (size_t)hbus_siphash(numbers->secret, &number, sizeof(number)) & (numbers->n_slots - 1);
}

/* Its slot, or the free one where it would stand. There always is a free one. */
static size_t slot_of(const struct hbus_mqtt_numbers *numbers, uint64_t number)
{
	size_t i = home_of(numbers, number);

	while (numbers->slots[i].value && numbers->slots[i].number != number)
		i = (i + 1) & (numbers->n_slots - 1);
	return i;
}

void *hbus_mqtt_numbers_find(const struct hbus_mqtt_numbers *numbers, uint64_t number)
{
	return numbers->n_slots ? numbers->slots[slot_of(numbers, number)].value : NULL;
}

static bool grow(struct hbus_mqtt_numbers *numbers)
{
	struct hbus_mqtt_numbers larger = *numbers;

	larger.n_slots = numbers->n_slots ? 2 * numbers->n_slots : SLOTS_MIN;
	larger.slots = calloc(larger.n_slots, sizeof(larger.slots[0]));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < numbers->n_slots; i++)
		if (numbers->slots[i].value)
			larger.slots[slot_of(&larger, numbers->slots[i].number)] = numbers->slots[i];
	free(numbers->slots);
	*numbers = larger;
	return true;
}

bool hbus_mqtt_numbers_add(struct hbus_mqtt_numbers *numbers, uint64_t number, void *value)
{
	if (2 * (numbers->n + 1) > numbers->n_slots && !grow(numbers))
		return false;
	numbers->slots[slot_of(numbers, number)] = (struct hbus_mqtt_number){ number, value };
	numbers->n++;
	return true;
}

void *hbus_mqtt_numbers_remove(struct hbus_mqtt_numbers *numbers, uint64_t number)
{
	size_t hole, i, mask = numbers->n_slots - 1;
	void *value = hbus_mqtt_numbers_find(numbers, number);

	if (!value)
		return NULL;
	/* Those behind it move up, as far as they would have stood there. */
	hole = slot_of(numbers, number);
	for (i = (hole + 1) & mask; numbers->slots[i].value; i = (i + 1) & mask) {
		if (((i - home_of(numbers, numbers->slots[i].number)) & mask) < ((i - hole) & mask))
			continue;
		numbers->slots[hole] = numbers->slots[i];
		hole = i;
	}
	numbers->slots[hole].value = NULL;
	numbers->n--;
	return value;
}

void hbus_mqtt_numbers_deinit(struct hbus_mqtt_numbers *numbers)
{
	free(numbers->slots);
	*numbers = (struct hbus_mqtt_numbers){ NULL };
}
