# SPDX-License-Identifier: Apache-2.0
"""The templates beside this, in which everything that is put in is escaped."""

from __future__ import annotations

from typing import Final

import jinja2
from markupsafe import Markup

from rbdstore.pictures import text

_loader: Final = jinja2.PackageLoader("rbdstore.pictures")

_environment: Final = jinja2.Environment(
    loader=_loader,
    autoescape=True,
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def render(name: str, **values: object) -> str:
    return text.in_ascii(_environment.get_template(name).render(**values)) + "\n"


def part(name: str) -> Markup:
    """A file beside this that is put in as it is."""
    return Markup(_loader.get_source(_environment, name)[0])  # nosec B704: it is our own
