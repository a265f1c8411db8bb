# SPDX-License-Identifier: Apache-2.0
"""Setting up a cluster for the services: pools, users, and the files that name them."""
