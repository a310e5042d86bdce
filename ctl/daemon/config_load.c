/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads the configuration file. packaging/hugebus.conf shows what it may hold. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/daemon/config_read.h"
#include "ctl/daemon/config_users.h"
#include "ctl/daemon/reserve.h"
#include "ctl/daemon/route.h"
#include "ctl/daemon/table.h"
#include "ctl/proto/topic.h"
#include "ctl/proto/topic_trie.h"
#include "shm/layout.h"

static config_setting_t *get(const config_setting_t *group, const char *key)
{
	return config_setting_get_member((config_setting_t *)(uintptr_t)group, key);
}

/* ---- daemon ---- */

static bool read_mode(struct hbus_config_reader *reader, const config_setting_t *group,
		      mode_t *ret_mode)
{
	const config_setting_t *setting = get(group, "socket_mode");
	char text[8] = "", *end;
	unsigned long mode;

	if (!setting)
		return true;
	if (!hbus_read_text(reader, group, "socket_mode", text, sizeof(text)))
		return false;
	mode = strtoul(text, &end, 8);
	if (text[0] < '0' || text[0] > '7' || *end || mode > 0777)
		return hbus_read_fail(reader, setting,
				      "'socket_mode' is an octal number in quotes, such as \"0660\"");
	*ret_mode = (mode_t)mode;
	return true;
}

static bool read_capacity(struct hbus_config_reader *reader, const config_setting_t *group,
			  uint64_t *ret)
{
	const config_setting_t *setting = get(group, "capacity");

	if (!hbus_read_size(reader, group, "capacity", HBUS_RING_CAPACITY_MIN,
			    HBUS_RING_CAPACITY_MAX, ret))
		return false;
	return (*ret & (*ret - 1)) == 0 ||
	       hbus_read_fail(reader, setting, "'capacity' is a power of two");
}

static bool check_path(struct hbus_config_reader *reader, const config_setting_t *group,
		       const char *key, const char *path)
{
	return path[0] == '\0' || path[0] == '/' ||
	       hbus_read_fail(reader, get(group, key), "'%s' is a path that begins with '/'", key);
}

static bool read_daemon(struct hbus_config_reader *reader, const config_setting_t *group,
			struct hbus_config *config)
{
	static const char *const keys[] = { "socket",	     "socket_mode", "socket_group",
					    "state",	     "log_level",   "reserve_pages",
					    "capacity",	     "stall_ms",    NULL };
	static const char *const levels[] = { "error", "warning", "info", "debug", NULL };
	const config_setting_t *socket_group;
	unsigned int level = config->log_level;
	uint64_t pages = config->reserve_pages, stall_ms = config->stall_ms;

	if (!hbus_read_group(reader, group, keys) ||
	    !hbus_read_text(reader, group, "socket", config->socket_path,
			    HBUS_SOCKET_PATH_MAX + 1) ||
	    !check_path(reader, group, "socket", config->socket_path) ||
	    !read_mode(reader, group, &config->socket_mode) ||
	    !hbus_read_text(reader, group, "state", config->state_dir, sizeof(config->state_dir)) ||
	    !check_path(reader, group, "state", config->state_dir) ||
	    !hbus_read_word(reader, group, "log_level", levels, &level) ||
	    !hbus_read_uint(reader, group, "reserve_pages", 0, HBUS_RESERVE_PAGES_MAX, &pages) ||
	    !read_capacity(reader, group, &config->capacity) ||
	    !hbus_read_uint(reader, group, "stall_ms", 1, 3600000, &stall_ms))
		return false;
	config->log_level = (enum hbus_log_level)level;
	config->reserve_pages = (uint32_t)pages;
	config->stall_ms = (uint32_t)stall_ms;
	socket_group = get(group, "socket_group");
	return !socket_group || hbus_read_gid(reader, socket_group, &config->socket_gid);
}

/* ---- topics ---- */

static bool read_attribute(struct hbus_config_reader *reader, const config_setting_t *group,
			   const char *key, char *ret, size_t size)
{
	if (!hbus_read_text(reader, group, key, ret, size))
		return false;
	if (!hbus_topic_is_attribute(ret))
		return hbus_read_fail(reader, group,
				      "'%s' is well-formed UTF-8 without control characters", key);
	return true;
}

static bool read_topic(struct hbus_config_reader *reader, const config_setting_t *group,
		       struct hbus_config_topic *topic)
{
	static const char *const keys[] = { "name", "type", "content_type", "own_ring", NULL };

	return hbus_read_group(reader, group, keys) &&
	       hbus_read_topic(reader, group, "name", false, topic->name) &&
	       read_attribute(reader, group, "type", topic->type, sizeof(topic->type)) &&
	       read_attribute(reader, group, "content_type", topic->content_type,
			      sizeof(topic->content_type)) &&
	       hbus_read_bool(reader, group, "own_ring", &topic->is_hot);
}

static bool read_each_topic(struct hbus_config_reader *reader, const config_setting_t *list,
			    struct hbus_config *config, struct hbus_trie *names,
			    struct hbus_trie_entry *entries)
{
	for (unsigned int i = 0; i < config->n_topics; i++) {
		const config_setting_t *group = config_setting_get_elem(list, i);

		if (!read_topic(reader, group, &config->topics[i]))
			return false;
		if (hbus_trie_find(names, config->topics[i].name))
			return hbus_read_fail(reader, group, "topic '%.100s' was named before",
					      config->topics[i].name);
		if (hbus_trie_insert(names, config->topics[i].name, &entries[i]) != 0)
			return hbus_read_fail(reader, group, "no memory");
	}
	return true;
}

static bool read_topics(struct hbus_config_reader *reader, const config_setting_t *list,
			struct hbus_config *config)
{
	struct hbus_trie_entry *entries;
	struct hbus_trie names;
	bool is_fine;

	if (!hbus_read_list(reader, list, "topics", HBUS_CONFIG_TOPICS_MAX))
		return false;
	config->n_topics = (size_t)config_setting_length(list);
	config->topics = calloc(config->n_topics + 1, sizeof(*config->topics));
	entries = calloc(config->n_topics + 1, sizeof(*entries));
	if (!config->topics || !entries || hbus_trie_init(&names, HBUS_TRIE_NODES_MAX) < 0) {
		free(entries);
		return hbus_read_fail(reader, list, "no memory");
	}
	is_fine = read_each_topic(reader, list, config, &names, entries);
	hbus_trie_deinit(&names);
	free(entries);
	return is_fine;
}

/* ---- routes ---- */

struct place {
	struct hbus_table_node node;
	const struct hbus_wire_route *route;
};

struct route_reader {
	struct hbus_config *config;
	struct hbus_table places;
	struct place *nodes; /* one a route */
};

static bool is_taken(const struct route_reader *routes, const struct hbus_wire_route *route)
{
	const struct hbus_table_node *node =
		hbus_table_find(&routes->places, hbus_route_place_key(route));

	for (; node; node = node->next)
		if (hbus_route_same_place(hbus_container_of(node, struct place, node)->route, route))
			return true;
	return false;
}

static bool add_route(struct hbus_config_reader *reader, struct route_reader *routes,
		      const config_setting_t *setting, const struct hbus_wire_route *route)
{
	struct hbus_config *config = routes->config;
	const char *wrong = hbus_route_check(route);
	struct place *place;

	if (wrong)
		return hbus_read_fail(reader, setting, "%s", wrong);
	if (is_taken(routes, route))
		return hbus_read_fail(reader, setting, "%s",
				      route->kind == HBUS_ROUTE_BATCH_TOPIC ?
					      "this number of the batch has a topic already" :
					      "there is a route to this place already");
	if (config->n_routes == HBUS_CONFIG_ROUTES_MAX)
		return hbus_read_fail(reader, setting, "at most %u routes are possible",
				      HBUS_CONFIG_ROUTES_MAX);
	place = &routes->nodes[config->n_routes];
	config->routes[config->n_routes] = *route;
	place->route = &config->routes[config->n_routes++];
	hbus_table_insert(&routes->places, hbus_route_place_key(route), &place->node);
	return true;
}

/* A number, or "any". */
static bool read_or_any(struct hbus_config_reader *reader, const config_setting_t *group,
			const char *key, uint64_t min, uint64_t max, uint32_t any, uint32_t *ret)
{
	const config_setting_t *setting = get(group, key);
	const char *text = setting ? config_setting_get_string(setting) : NULL;
	uint64_t number = any;

	if (text && strcmp(text, "any") != 0)
		return hbus_read_fail(reader, setting, "'%s' is a number or \"any\"", key);
	if (!text && !hbus_read_uint(reader, group, key, min, max, &number))
		return false;
	*ret = (uint32_t)number;
	return true;
}

static bool read_batch_topic(struct hbus_config_reader *reader, struct route_reader *routes,
			     const config_setting_t *group, struct hbus_wire_route route)
{
	static const char *const keys[] = { "number", "topic", NULL };
	uint64_t number = UINT64_MAX;

	if (!hbus_read_group(reader, group, keys) ||
	    !hbus_read_uint(reader, group, "number", 0, UINT32_MAX, &number) ||
	    !hbus_read_topic(reader, group, "topic", false, route.topic))
		return false;
	if (number == UINT64_MAX)
		return hbus_read_fail(reader, group, "'number' is missing here");
	route.kind = HBUS_ROUTE_BATCH_TOPIC;
	route.number = (uint32_t)number;
	return add_route(reader, routes, group, &route);
}

static bool read_batch(struct hbus_config_reader *reader, struct route_reader *routes,
		       const config_setting_t *list, struct hbus_wire_route *route)
{
	route->kind = HBUS_ROUTE_BATCH;
	if (!hbus_read_list(reader, list, "topics of a batch", HBUS_CONFIG_ROUTES_MAX) ||
	    !add_route(reader, routes, list, route))
		return false;
	for (int i = 0; i < config_setting_length(list); i++)
		if (!read_batch_topic(reader, routes,
				      config_setting_get_elem(list, (unsigned int)i), *route))
			return false;
	return true;
}

static bool read_route(struct hbus_config_reader *reader, struct route_reader *routes,
		       const config_setting_t *group)
{
	static const char *const keys[] = { "to", "port", "vlan", "topic", "batch", NULL };
	struct hbus_wire_route route = { .kind = HBUS_ROUTE_TOPIC };
	const config_setting_t *to, *batch;

	if (!hbus_read_group(reader, group, keys))
		return false;
	to = get(group, "to");
	batch = get(group, "batch");
	if (!to)
		return hbus_read_fail(reader, group, "'to' is missing: the destination's prefix");
	if (!batch == !get(group, "topic"))
		return hbus_read_fail(reader, group, "a route has either 'topic' or 'batch'");
	if (!hbus_read_prefix(reader, to, route.address, &route.family, &route.prefix_len) ||
	    !read_or_any(reader, group, "port", 1, 65535, 0, &route.port) ||
	    !read_or_any(reader, group, "vlan", 0, 4094, HBUS_ROUTE_VLAN_ANY, &route.vlan))
		return false;
	if (batch)
		return read_batch(reader, routes, batch, &route);
	return hbus_read_topic(reader, group, "topic", false, route.topic) &&
	       add_route(reader, routes, group, &route);
}

static bool read_routes(struct hbus_config_reader *reader, const config_setting_t *list,
			struct hbus_config *config)
{
	struct route_reader routes = { .config = config };
	bool is_fine = true;

	if (!hbus_read_list(reader, list, "routes", HBUS_CONFIG_ROUTES_MAX))
		return false;
	config->routes = calloc(HBUS_CONFIG_ROUTES_MAX, sizeof(*config->routes));
	routes.nodes = calloc(HBUS_CONFIG_ROUTES_MAX, sizeof(*routes.nodes));
	if (!config->routes || !routes.nodes || hbus_table_init(&routes.places) < 0) {
		free(routes.nodes);
		return hbus_read_fail(reader, list, "no memory");
	}
	for (int i = 0; is_fine && i < config_setting_length(list); i++)
		is_fine = read_route(reader, &routes,
				     config_setting_get_elem(list, (unsigned int)i));
	hbus_table_deinit(&routes.places);
	free(routes.nodes);
	return is_fine;
}

/* ---- sources ---- */

static const char *const actions[] = { "allow", "deny", NULL };

static bool read_source(struct hbus_config_reader *reader, const config_setting_t *group,
			struct hbus_config *config, struct hbus_config_source *source)
{
	static const char *const keys[] = { "from", "action", NULL };
	unsigned int action = 2;

	if (!hbus_read_group(reader, group, keys))
		return false;
	if (!get(group, "from") || !get(group, "action"))
		return hbus_read_fail(reader, group, "a source rule has 'from' and 'action'");
	if (!hbus_read_prefix(reader, get(group, "from"), source->address, &source->family,
			      &source->prefix_len) ||
	    !hbus_read_word(reader, group, "action", actions, &action))
		return false;
	source->is_deny = action == 1;
	for (const struct hbus_config_source *other = config->sources; other < source; other++)
		if (other->family == source->family && other->prefix_len == source->prefix_len &&
		    memcmp(other->address, source->address, sizeof(other->address)) == 0)
			return hbus_read_fail(reader, group, "this prefix has a rule already");
	return true;
}

static bool read_sources(struct hbus_config_reader *reader, const config_setting_t *group,
			 struct hbus_config *config)
{
	static const char *const keys[] = { "otherwise", "rate", "burst", "rules", NULL };
	const config_setting_t *rules;
	unsigned int otherwise = 0;

	if (!hbus_read_group(reader, group, keys) ||
	    !hbus_read_word(reader, group, "otherwise", actions, &otherwise) ||
	    !hbus_read_uint(reader, group, "rate", 0, 100000000, &config->source_rate) ||
	    !hbus_read_uint(reader, group, "burst", 0, 1000000, &config->source_burst))
		return false;
	config->is_source_denied = otherwise == 1;
	if (config->source_rate > 0 && config->source_burst == 0)
		return hbus_read_fail(reader, group, "a 'rate' needs a 'burst' of at least 1");
	rules = get(group, "rules");
	if (!rules)
		return true;
	if (!hbus_read_list(reader, rules, "source rules", HBUS_CONFIG_SOURCES_MAX))
		return false;
	config->n_sources = (size_t)config_setting_length(rules);
	config->sources = calloc(config->n_sources + 1, sizeof(*config->sources));
	if (!config->sources)
		return hbus_read_fail(reader, rules, "no memory");
	for (unsigned int i = 0; i < config->n_sources; i++)
		if (!read_source(reader, config_setting_get_elem(rules, i), config,
				 &config->sources[i]))
			return false;
	return true;
}

/* ---- the file ---- */

static bool read_tree(struct hbus_config_reader *reader, struct hbus_config *config)
{
	static const char *const keys[] = { "daemon", "topics", "routes", "sources",
					    "policy", "quotas", NULL };
	static bool (*const parts[])(struct hbus_config_reader *, const config_setting_t *,
				     struct hbus_config *) = {
		read_daemon,  read_topics,	       read_routes,
		read_sources, hbus_config_read_policy, hbus_config_read_quotas,
	};
	const config_setting_t *root = config_root_setting(&reader->tree);

	if (!hbus_read_group(reader, root, keys))
		return false;
	for (size_t i = 0; keys[i]; i++) {
		const config_setting_t *part = get(root, keys[i]);

		if (part && !parts[i](reader, part, config))
			return false;
	}
	return true;
}

/* libconfig ends the process when it is given something that cannot be read as a file. */
static int check_readable(const char *path, struct hbus_config_error *error)
{
	struct stat st;
	FILE *file = fopen(path, "re");
	int r = 0;

	if (!file || fstat(fileno(file), &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EISDIR;
	if (file)
		fclose(file);
	if (r < 0)
		snprintf(error->text, sizeof(error->text), "%.400s: %s", path,
			 r == -EISDIR ? "not a file" : strerror(-r));
	return r;
}

static int parse(struct hbus_config_reader *reader, struct hbus_config *config)
{
	const char *file;

	if (config_read_file(&reader->tree, reader->path) != CONFIG_TRUE) {
		file = config_error_file(&reader->tree);
		snprintf(reader->error->text, sizeof(reader->error->text), "%.400s:%d: %.100s",
			 file ? file : reader->path, config_error_line(&reader->tree),
			 config_error_text(&reader->tree));
		return -EINVAL;
	}
	return read_tree(reader, config) ? 0 : -EINVAL;
}

int hbus_config_load(const char *path, struct hbus_config *ret_config,
		     struct hbus_config_error *ret_error)
{
	struct hbus_config_reader reader = { .path = path, .error = ret_error };
	struct hbus_config *config;
	int r = check_readable(path, ret_error);

	if (r < 0)
		return r;
	config = malloc(sizeof(*config));
	if (!config)
		return -ENOMEM;
	hbus_config_init(config);
	config_init(&reader.tree);
	r = parse(&reader, config);
	config_destroy(&reader.tree);
	if (r < 0)
		hbus_config_deinit(config);
	else
		*ret_config = *config;
	free(config);
	return r;
}
