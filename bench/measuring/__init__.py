# SPDX-License-Identifier: Apache-2.0
"""What the programs of bench share: pairs on one cluster, tables and charts of their figures."""
