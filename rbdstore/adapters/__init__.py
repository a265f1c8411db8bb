# SPDX-License-Identifier: Apache-2.0
"""What services load in place of their own drivers. Each module needs its service installed."""
