# SPDX-License-Identifier: Apache-2.0
"""Images become volumes, and volumes images: by a clone where that can be, else by a copy."""
