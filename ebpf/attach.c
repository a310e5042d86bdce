/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter and its interface: attached, still attached, replaced, detached; who owns the
 * interface, and what to do about a filter whose owner was killed.
 *
 * Every exchange names the program that it expects to find and the kernel compares: what somebody
 * else put there meanwhile is never taken away.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "ebpf/loader_pvt.h"

/* ---- which program is attached ---------------------------------------------------------- */

int hbus_filter_query(unsigned int ifindex, uint32_t *ret_id, uint32_t *ret_mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int ret = bpf_xdp_query((int)ifindex, 0, &opts);

	if (ret < 0)
		return ret;
	/* Attached in two ways at once, the driver's is the one that sees frames first. */
	if (opts.drv_prog_id != 0) {
		*ret_id = opts.drv_prog_id;
		*ret_mode = XDP_FLAGS_DRV_MODE;
	} else if (opts.skb_prog_id != 0) {
		*ret_id = opts.skb_prog_id;
		*ret_mode = XDP_FLAGS_SKB_MODE;
	} else {
		*ret_id = opts.prog_id;
		*ret_mode = XDP_FLAGS_HW_MODE;
	}
	return 0;
}

int hbus_filter_check(const struct hbus_filter *filter, struct hbus_filter_error *error)
{
	uint32_t prog_id = 0, mode;
	int ret = 0;

	if (filter->ifindex != 0)
		ret = hbus_filter_query(filter->ifindex, &prog_id, &mode);
	if (ret < 0) {
		hbus_filter_error_set(error, "cannot ask for the XDP program of interface %u: %s",
				      filter->ifindex, strerror(-ret));
		return ret;
	}
	if (prog_id == 0) {
		hbus_filter_error_set(error, "the filter is not attached any more");
		return HBUS_FILTER_NONE;
	}
	if (prog_id != filter->prog_id) {
		hbus_filter_error_set(error,
				      "XDP program %" PRIu32 " stands where the filter, %" PRIu32
				      ", was attached",
				      prog_id, filter->prog_id);
		return HBUS_FILTER_FOREIGN;
	}
	return 0;
}

/* ---- attachment ------------------------------------------------------------------------ */

int hbus_filter_attach(struct hbus_filter *filter, unsigned int ifindex,
		       struct hbus_filter_error *error)
{
	int ret = bpf_xdp_attach((int)ifindex, filter->prog_fd, XDP_FLAGS_UPDATE_IF_NOEXIST, NULL);

	if (ret == -EBUSY || ret == -EEXIST) {
		hbus_filter_error_set(error, "interface %u has an XDP program already", ifindex);
		return HBUS_FILTER_FOREIGN;
	}
	if (ret < 0) {
		hbus_filter_error_set(error, "cannot attach to interface %u: %s", ifindex,
				      strerror(-ret));
		return ret;
	}
	filter->ifindex = ifindex;
	return 0;
}

/*
 * Puts @new_fd (-1: nothing) where @old_fd is attached, or fails if that is not @old_fd any more:
 * the kernel compares and exchanges.
 */
static int hbus_filter_exchange(unsigned int ifindex, int old_fd, uint32_t old_id, int new_fd,
				struct hbus_filter_error *error)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts, .old_prog_fd = old_fd);
	uint32_t prog_id = 0, mode = 0;
	int ret = hbus_filter_query(ifindex, &prog_id, &mode);

	if (ret == 0 && prog_id == 0)
		return HBUS_FILTER_NONE;
	if (ret == 0 && prog_id != old_id)
		return HBUS_FILTER_FOREIGN;
	if (ret == 0)
		ret = bpf_xdp_attach((int)ifindex, new_fd, mode | XDP_FLAGS_REPLACE, &opts);
	if (ret < 0)
		hbus_filter_error_set(error, "cannot %s XDP program %" PRIu32
				      " of interface %u: %s",
				      new_fd < 0 ? "detach" : "replace", old_id, ifindex,
				      strerror(-ret));
	return ret;
}

int hbus_filter_replace(struct hbus_filter *filter, const char *path,
			struct hbus_filter_error *error)
{
	struct bpf_object *object = NULL;
	uint32_t prog_id = 0;
	int prog_fd = -1, stamp_fd = -1;
	int ret;

	ret = hbus_filter_check(filter, error);
	if (ret != 0)
		return ret;
	ret = hbus_filter_object_load(path, filter->map_fds, &object, error);
	if (ret != 0)
		return ret;
	ret = hbus_filter_object_prog(object, &prog_fd, &prog_id);
	if (ret < 0)
		goto out;
	stamp_fd = hbus_filter_object_map(object, HBUS_FILTER_MAP_STAMP);
	if (stamp_fd < 0) {
		ret = stamp_fd;
		goto out;
	}
	ret = hbus_filter_exchange(filter->ifindex, filter->prog_fd, filter->prog_id, prog_fd,
				   error);
	if (ret != 0)
		goto out;
	close(filter->prog_fd);
	close(filter->map_fds[HBUS_FILTER_MAP_STAMP]);
	filter->prog_fd = prog_fd;
	filter->prog_id = prog_id;
	filter->map_fds[HBUS_FILTER_MAP_STAMP] = stamp_fd;
	prog_fd = stamp_fd = -1;
out:
	if (prog_fd >= 0)
		close(prog_fd);
	if (stamp_fd >= 0)
		close(stamp_fd);
	bpf_object__close(object);
	return ret;
}

int hbus_filter_detach(struct hbus_filter *filter, struct hbus_filter_error *error)
{
	int ret = hbus_filter_check(filter, error);

	if (ret == 0)
		ret = hbus_filter_exchange(filter->ifindex, filter->prog_fd, filter->prog_id, -1,
					   error);
	if (ret == 0)
		filter->ifindex = 0;
	return ret;
}

/* ---- who owns an interface ------------------------------------------------------------- */

/* @ret_len: of the address. Abstract names are per network namespace, as interface numbers are. */
static void hbus_filter_claim_name(unsigned int ifindex, struct sockaddr_un *ret_addr,
				   socklen_t *ret_len)
{
	int len;

	*ret_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	len = snprintf(ret_addr->sun_path + 1, sizeof(ret_addr->sun_path) - 1, "hugebus-filter/%u",
		       ifindex);
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

/* Who listens there. Return: 0 with @ret_peer, or -errno. */
static int hbus_filter_claim_peer(const struct sockaddr_un *addr, socklen_t addr_len,
				  struct ucred *ret_peer)
{
	socklen_t len = sizeof(*ret_peer);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, addr_len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &len) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int hbus_filter_claim_refused(unsigned int ifindex, const struct sockaddr_un *addr,
				     socklen_t addr_len, struct hbus_filter_error *error)
{
	struct ucred peer = { .uid = (uid_t)-1 };

	if (hbus_filter_claim_peer(addr, addr_len, &peer) < 0) {
		hbus_filter_error_set(error, "the filter of interface %u belongs to another process",
				      ifindex);
		return HBUS_FILTER_BUSY;
	}
	if (peer.uid != 0 && peer.uid != geteuid()) {
		hbus_filter_error_set(error,
				      "process %d of uid %u holds the name of interface %u's filter "
				      "and is neither root nor this user",
				      (int)peer.pid, (unsigned int)peer.uid, ifindex);
		return -EADDRINUSE;
	}
	hbus_filter_error_set(error, "the filter of interface %u belongs to process %d, which lives",
			      ifindex, (int)peer.pid);
	return HBUS_FILTER_BUSY;
}

int hbus_filter_claim(unsigned int ifindex, int *ret_fd, struct hbus_filter_error *error)
{
	struct sockaddr_un addr;
	socklen_t len;
	int fd, ret;

	hbus_filter_claim_name(ifindex, &addr, &len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, len) == 0 && listen(fd, SOMAXCONN) == 0) {
		*ret_fd = fd;
		return 0;
	}
	ret = -errno;
	close(fd);
	return ret == -EADDRINUSE ? hbus_filter_claim_refused(ifindex, &addr, len, error) : ret;
}

int hbus_filter_remove(unsigned int ifindex, struct hbus_filter_error *error)
{
	struct hbus_filter_found found;
	uint32_t prog_id, mode;
	int ret;

	ret = hbus_filter_query(ifindex, &prog_id, &mode);
	if (ret < 0) {
		hbus_filter_error_set(error, "cannot ask for the XDP program of interface %u: %s",
				      ifindex, strerror(-ret));
		return ret;
	}
	if (prog_id == 0)
		return HBUS_FILTER_NONE;
	ret = hbus_filter_find(prog_id, false, &found, error);
	if (ret == 0)
		ret = hbus_filter_exchange(ifindex, found.prog_fd, prog_id, -1, error);
	hbus_filter_found_deinit(&found);
	return ret;
}
