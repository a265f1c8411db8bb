# SPDX-License-Identifier: Apache-2.0
"""Looking at images and what they are related to: one, all of a pool, the clone forest."""
