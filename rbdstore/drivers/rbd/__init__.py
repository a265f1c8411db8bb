# SPDX-License-Identifier: Apache-2.0
"""Ceph RBD, through librados and librbd: the only importer of ``rados`` and ``rbd``."""
