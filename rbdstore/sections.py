# SPDX-License-Identifier: Apache-2.0
"""Reading what a backend's section says, for drivers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oslo_config import cfg

from rbdstore import exceptions

# Eleven days: more makes no difference, and clocks have a limit.
MOST_SECONDS: Final = 1_000_000


def error(section: str, option: str, text: str) -> exceptions.ConfigError:
    """An error that names section and option."""
    return exceptions.ConfigError(
        f"[{section}] {option}: {text}" if section else f"{option}: {text}"
    )


def value(opt: cfg.Opt, options: Mapping[str, Any]) -> Any:
    """What is said of an option, of its type; its default where nothing is.

    :raises ConfigError: it is not of its type
    """
    found = options.get(opt.dest)
    if found is None:
        return opt.default
    try:
        return opt.type(found)
    except ValueError as exc:
        raise error(name(options), opt.name, str(exc)) from exc


def name(options: Mapping[str, Any]) -> str:
    """The section's name; empty where the options are from no file."""
    return str(options.get("section") or "")


def object_order(options: Mapping[str, Any]) -> int | None:
    """The order of new images' objects, where the services do not say otherwise.

    It is said by an option of theirs, in MiB.

    :raises ConfigError: it is no power of two from 1 to 32
    """
    chunk_size = options.get("rbd_store_chunk_size")
    if chunk_size is None:
        return None
    try:
        size = int(chunk_size)
    except (TypeError, ValueError):
        size = 0
    if not 1 <= size <= 32 or size & (size - 1):
        raise error(
            name(options),
            "rbd_store_chunk_size",
            f"{chunk_size} is not 1, 2, 4, 8, 16 or 32 (MiB)",
        )
    return (size << 20).bit_length() - 1
