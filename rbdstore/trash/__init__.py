# SPDX-License-Identifier: Apache-2.0
"""What is deleted and not gone yet: purged now, or in the background."""
