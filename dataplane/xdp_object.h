/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the compiled XDP program is, for the programs that load it at their start
 */
#pragma once

/**
 * hbus_xdp_object_find() - in the tree that this program was built in, else where it is installed
 * @installed: the latter
 *
 * Return: a path that stays valid; one caller at a time.
 */
const char *hbus_xdp_object_find(const char *installed);
