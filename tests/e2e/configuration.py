# SPDX-License-Identifier: Apache-2.0
"""Files in the form that oslo.config reads."""

import configparser


def parser():
    """An empty one, to which no section is special and no value more than text."""
    made = configparser.ConfigParser(
        default_section="", interpolation=None, delimiters="=", comment_prefixes="#"
    )
    made.optionxform = str
    return made


def write(path, sections):
    """Write ``{section: {option: value}}``; an option whose value is None is left out."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in values.items() if value is not None]
        lines.append("")
    path.write_text("\n".join(lines))
    return path


def change(path, sections):
    """Change options that a file has, as an operator does who is told these lines.

    :raises KeyError: it has no such section or option
    """
    found = parser()
    found.read(path)
    for section, values in sections.items():
        for name, value in values.items():
            if name not in found[section]:
                raise KeyError(f"{path} has no {name} in [{section}]")
            found[section][name] = value
    write(path, {section: found[section] for section in found.sections()})
