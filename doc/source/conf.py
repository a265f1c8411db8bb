# SPDX-License-Identifier: Apache-2.0
"""Sphinx: what the documentation is built with."""

project = "rbdstore"
copyright = "the rbdstore developers"
extensions = ["sphinx.ext.autodoc"]
html_theme = "alabaster"
