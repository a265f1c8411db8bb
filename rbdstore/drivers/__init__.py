# SPDX-License-Identifier: Apache-2.0
"""The drivers that come with the library."""
