# SPDX-License-Identifier: Apache-2.0
"""Names in a pool: claimed, published when what they name is whole, removed without harm."""
