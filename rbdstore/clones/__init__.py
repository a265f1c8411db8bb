# SPDX-License-Identifier: Apache-2.0
"""Clones of volumes: making them to a limit of depth, and letting go of parents."""
