# SPDX-License-Identifier: Apache-2.0
"""What drivers and services that use rbdstore are tested with."""
