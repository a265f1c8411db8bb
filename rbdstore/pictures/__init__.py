# SPDX-License-Identifier: Apache-2.0
"""The clone forest drawn: for Graphviz, as SVG, and as a page that is one file."""
