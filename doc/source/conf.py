# SPDX-License-Identifier: Apache-2.0
"""Sphinx: what the documentation is built with."""

import re

from docutils import nodes

project = "rbdstore"
copyright = "the rbdstore developers"
extensions = [
    "cliff.sphinxext",
    "openstackdocstheme",
    "oslo_config.sphinxext",
    "reno.sphinxext",
    "sphinx.ext.autodoc",
]
html_theme = "openstackdocs"
# The theme would have another licence stand below each page.
templates_path = ["_templates"]
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_pdf_link = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
nitpicky = True
nitpick_ignore_regex = [
    # Nothing is fetched from elsewhere while it is built.
    (r"py:.*", r"(builtins|collections|contextlib|os|oslo_config|pathlib)\..*"),
    # What only this library makes, and hands from one of its parts to another.
    (r"py:class", r"rbdstore\.(settings\.Settings|trash\.deferral\.Purger|upkeep\.Upkeep)"),
    # What an argument is to have is said where it is taken.
    (r"py:class", r"rbdstore\..*\.(File|Images|Incremental|Readable|Role|Writable)"),
    # Names that are imported for their types only, and one that stands for any type.
    (r"py:class", r"ImageSpec|Incremental|Settings|rbdstore\.completions\.T"),
]


def setup(app):
    app.connect("doctree-read", _link_pages)


def _link_pages(app, doctree):
    """The README names pages by their files, for who reads it among these."""
    for node in doctree.findall(nodes.reference):
        if match := re.fullmatch(r"doc/source/(.*)\.rst", node.get("refuri", "")):
            node["refuri"] = f"{match[1]}.html"


# The manual page is another document than the pages: `sphinx-build -t man -b man`.
_MAN = "reference/rbdstore.1"
if tags.has("man"):  # noqa: F821 (Sphinx has it there)
    include_patterns = [f"{_MAN}.rst"]
    root_doc = _MAN
else:
    exclude_patterns = [f"{_MAN}.rst"]
man_pages = [(_MAN, "rbdstore", "block images on Ceph RBD", "the rbdstore developers", 1)]
