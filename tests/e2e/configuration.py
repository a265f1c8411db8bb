# SPDX-License-Identifier: Apache-2.0
"""Files in the form that oslo.config reads."""


def write(path, sections):
    """Write ``{section: {option: value}}``; an option whose value is None is left out."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in values.items() if value is not None]
        lines.append("")
    path.write_text("\n".join(lines))
    return path
