# SPDX-License-Identifier: Apache-2.0
"""The options every backend has, whatever its driver, and how options become plain values.

Configuration is read once, here and in :mod:`rbdstore.loading`; what is further inside gets a
:class:`~rbdstore.settings.Settings` or, a driver, a mapping.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from oslo_config import cfg, types
from oslo_utils import units

from rbdstore import exceptions, sections, spec
from rbdstore.settings import (
    CONVERSION_ADDRESS_SPACE,
    CONVERSION_CPU_SECONDS,
    CONVERSION_SECONDS,
    TRANSFER_THREADS,
    TRANSFER_WINDOW,
    Settings,
)

GROUP: Final = "rbdstore"


class PowerOfTwo(types.Integer):
    """A whole number that is a power of two."""

    def __call__(self, value: Any) -> Any:
        number: Any = super().__call__(value)
        if number is not None and number & (number - 1):
            raise ValueError(f"{number} is not a power of two")
        return number


class Backends(types.Dict):
    """``name:driver`` pairs, separated by commas. The value is a mapping of name to driver."""

    def __init__(self) -> None:
        super().__init__(type_name="list of name:driver")

    def __call__(self, value: Any) -> dict[str, str]:
        # The base class would take "fast, slow:rbd" for one backend called "fast, slow".
        if isinstance(value, Mapping):
            pairs = [f"{name}:{driver}" for name, driver in value.items()]
        elif isinstance(value, str):
            pairs = value.split(",") if value.strip() else []
        else:
            pairs = [str(pair) for pair in value]
        found: dict[str, str] = {}
        for pair in pairs:
            name, _colon, driver = (part.strip() for part in pair.partition(":"))
            if not name or not driver or ":" in driver:
                raise ValueError(f"{pair.strip()!r} is not of the form name:driver")
            if name in ("DEFAULT", GROUP):
                raise ValueError(f"a backend cannot be called {name}: that section has other uses")
            if name in found:
                raise ValueError(f"there are two backends called {name}")
            found[name] = driver
        return found


def _also(*names: str) -> list[cfg.DeprecatedOpt]:
    """What other services call the same option."""
    return [cfg.DeprecatedOpt(name) for name in names]


BACKENDS: Final[tuple[cfg.Opt, ...]] = (
    cfg.Opt(
        "enabled_backends",
        type=Backends(),
        sample_default="rbd:rbd",
        help="The backends, each as name:driver, separated by commas, for example "
        "'images:rbd, volumes:rbd'. The options of each are in a section of its name.",
    ),
    cfg.StrOpt(
        "default_backend",
        help="The name of the backend that is used where none is asked for. May be left out "
        "when there is only one.",
    ),
)
"""The options of the section ``[rbdstore]``."""

COMMON: Final[tuple[cfg.Opt, ...]] = (
    cfg.StrOpt(
        "rbd_pool",
        default="rbd",
        deprecated_opts=_also("rbd_store_pool", "images_rbd_pool", "backup_ceph_pool"),
        help="The pool that this backend's images and volumes are in. It must exist.",
    ),
    cfg.StrOpt(
        "rbd_namespace",
        default="",
        help="The namespace of the pool that they are in. It must exist. Empty: the pool's "
        "default one, the only one that the stock drivers of OpenStack know.",
    ),
    cfg.Opt(
        "rbd_store_chunk_size",
        type=PowerOfTwo(type_name="MiB, a power of two", min=1, max=32),
        help="The size of the objects that new images and volumes are stored in: 1, 2, 4, 8, 16 "
        "or 32. What exists keeps its size, and a clone has its parent's. Default: 8 for images, "
        "4 for volumes.",
    ),
    cfg.IntOpt(
        "rbd_max_clone_depth",
        default=5,
        help="How many parents a volume may have above it before a clone of a volume flattens, "
        "which takes as long as copying its data. Reads get slower with each parent. 0 or less: "
        "clones of volumes are full copies always. Clones of images and of snapshots are not "
        "affected.",
    ),
    cfg.BoolOpt(
        "rbd_flatten_volume_from_snapshot",
        default=False,
        help="Flatten a volume that is made from a snapshot at once, so that the snapshot can be "
        "deleted for good at any time, at the cost of copying its data.",
    ),
    cfg.StrOpt(
        "rbd_flatten_target",
        default="source",
        choices=[
            ("source", "the volume that is cloned, once for all clones to come"),
            ("destination", "the new volume, each time"),
        ],
        help="What is flattened when rbd_max_clone_depth is reached.",
    ),
    cfg.StrOpt(
        "rbd_flatten_mode",
        default="inline",
        choices=[
            ("inline", "by this process"),
            ("task", "by the cluster's managers; the user needs mgr 'profile rbd pool=<pool>'"),
        ],
        help="Who does the work of flattening. The call waits for its end either way.",
    ),
    cfg.IntOpt(
        "rbd_concurrent_flatten_operations",
        default=3,
        min=1,
        help="How many images this process flattens at once; further ones wait. Each reads and "
        "writes all of an image's data.",
    ),
    cfg.FloatOpt(
        "rbd_clone_gather_time",
        default=0.02,
        min=0,
        max=60,
        help="For how many seconds a clone of a volume waits for others of the same volume, to "
        "share a snapshot with them: making one can take the monitors a second, cloning it takes "
        "a hundredth of that. While one is being made, those that come share the next one, "
        "however long that takes. Not so with clone format 1.",
    ),
    cfg.IntOpt(
        "rbd_max_snapshots_on_image",
        default=450,
        min=1,
        help="Beyond how many snapshots on a volume its oldest clones are flattened, in the "
        "background, until the snapshots that carried them are gone. Clients of the kernel can "
        "map a volume of 510 at the most.",
    ),
    cfg.BoolOpt(
        "enable_deferred_deletion",
        default=False,
        help="Deleting a volume moves it to the trash, which takes milliseconds however large it "
        "is. Its data is removed in the background, by whichever process has a backend of this "
        "pool open that defers deletion, or by `rbdstore trash purge`.",
    ),
    cfg.IntOpt(
        "deferred_deletion_delay",
        default=0,
        min=0,
        max=sections.MOST_SECONDS,
        help="How many seconds a deleted volume stays in the trash at the least. Until then "
        "`rbd trash restore` brings it back.",
    ),
    cfg.IntOpt(
        "deferred_deletion_purge_interval",
        default=60,
        min=1,
        max=sections.MOST_SECONDS,
        help="How often, in seconds, the trash is looked through for what may be removed.",
    ),
    cfg.IntOpt(
        "rbd_lease_seconds",
        default=30,
        min=1,
        max=sections.MOST_SECONDS,
        help="How long a name stays locked after the process that was at work on it has died. "
        "A process that is held up for longer than this loses what it was at work on. The same "
        "in all services that use the pool.",
    ),
    cfg.IntOpt(
        "rbd_destroy_volume_retries",
        default=12,
        min=0,
        max=sections.MOST_SECONDS,
        help="How many intervals the clients that have an instance's disks open are given to end "
        "when the disks are deleted. One that crashed looks alive for some 30 s.",
    ),
    cfg.IntOpt(
        "rbd_destroy_volume_retry_interval",
        default=5,
        min=0,
        max=sections.MOST_SECONDS,
        help="How many seconds each of these intervals has.",
    ),
    cfg.IntOpt(
        "rbd_transfer_window",
        default=TRANSFER_WINDOW // units.Mi,
        min=1,
        help="How many MiB of an image are in memory at once while it is uploaded or downloaded, "
        "waiting to be hashed, written or fetched; about as much as each upload and download at "
        "the same time takes; a backup takes it twice, to read and to write, an increment once "
        "more, for what was there before. More helps where the cluster is far away.",
    ),
    cfg.IntOpt(
        "rbd_transfer_threads",
        default=TRANSFER_THREADS,
        min=0,
        max=2,
        help="How many threads compute an upload's two hashes beside the one that reads and "
        "writes. 0: none; that one does it, which is slower, also where there are other uploads.",
    ),
    cfg.IntOpt(
        "backup_ceph_max_snapshots",
        default=0,
        min=0,
        help="How many snapshots this backend's backups leave on a volume, the latest ones, for "
        "increments to come; each holds the data that has been overwritten since. Without a "
        "snapshot of a backup that still exists the next one is a full one. 0: as many as there "
        "are backups.",
    ),
    cfg.BoolOpt(
        "backup_trust_fast_diff",
        default=True,
        help="Believe a volume's object map what has changed in it. False: ask for each object "
        "when an incremental backup is made, or a volume restored in place, which takes longer "
        "the larger the volume is.",
    ),
    cfg.BoolOpt(
        "restore_discard_excess_bytes",
        default=True,
        help="Discard what a volume has beyond the end of a backup that is restored to it.",
    ),
    cfg.StrOpt(
        "image_conversion_dir",
        help="A directory for images that are not raw while they are converted to volumes: the "
        "image as it is and, where QEMU cannot write to the backend, also the disk in it, without "
        "its holes. Raw images are never kept there. Default: where temporary files go.",
    ),
    cfg.IntOpt(
        "image_conversion_address_space_limit",
        default=CONVERSION_ADDRESS_SPACE // units.Gi,
        min=1,
        max=1024,
        help="How many GiB of memory qemu-img may map while it converts an image. With less than "
        "1 it cannot load librbd.",
    ),
    cfg.IntOpt(
        "image_conversion_cpu_limit",
        default=CONVERSION_CPU_SECONDS,
        min=1,
        max=sections.MOST_SECONDS,
        help="How many seconds of processor time qemu-img may take to convert an image.",
    ),
    cfg.IntOpt(
        "image_conversion_time_limit",
        default=CONVERSION_SECONDS,
        min=1,
        max=sections.MOST_SECONDS,
        help="How many seconds qemu-img may take to convert an image, the cluster's share "
        "included.",
    ),
    cfg.BoolOpt(
        "rbd_metrics",
        default=False,
        help="Count what is done with this backend, for Prometheus. It takes the Python package "
        "prometheus_client; where the figures are to be had, the documentation says.",
    ),
)
"""The options that a backend's section has besides its driver's own."""


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Return what the services need to know of a backend's options."""
    chunk_size = values["rbd_store_chunk_size"]
    return Settings(
        pool=values["rbd_pool"],
        namespace=values["rbd_namespace"] or "",
        chunk_size=None if chunk_size is None else chunk_size * units.Mi,
        max_clone_depth=values["rbd_max_clone_depth"],
        flatten_volume_from_snapshot=values["rbd_flatten_volume_from_snapshot"],
        flatten_target=values["rbd_flatten_target"],
        flatten_mode=values["rbd_flatten_mode"],
        concurrent_flatten_operations=values["rbd_concurrent_flatten_operations"],
        clone_gather_time=values["rbd_clone_gather_time"],
        max_snapshots_on_image=values["rbd_max_snapshots_on_image"],
        enable_deferred_deletion=values["enable_deferred_deletion"],
        deferred_deletion_delay=values["deferred_deletion_delay"],
        deferred_deletion_purge_interval=values["deferred_deletion_purge_interval"],
        lease_seconds=values["rbd_lease_seconds"],
        destroy_volume_retries=values["rbd_destroy_volume_retries"],
        destroy_volume_retry_interval=values["rbd_destroy_volume_retry_interval"],
        transfer_window=values["rbd_transfer_window"] * units.Mi,
        transfer_threads=values["rbd_transfer_threads"],
        backup_max_snapshots=values["backup_ceph_max_snapshots"],
        backup_trust_fast_diff=values["backup_trust_fast_diff"],
        restore_discard_excess=values["restore_discard_excess_bytes"],
        conversion_dir=values["image_conversion_dir"] or None,
        conversion_address_space=values["image_conversion_address_space_limit"] * units.Gi,
        conversion_cpu_seconds=values["image_conversion_cpu_limit"],
        conversion_seconds=values["image_conversion_time_limit"],
        metrics=values["rbd_metrics"],
    )


def where(section: str, option: str) -> str:
    """How an error's text names an option; values that were passed have no section."""
    return f"[{section}] {option}" if section else option


def read(conf: cfg.ConfigOpts, section: str, options: Iterable[cfg.Opt]) -> dict[str, Any]:
    """Read ``options`` in a section of a configuration.

    :raises ConfigError: a value is missing or wrong
    """
    return {opt.dest: _read(conf, section, opt) for opt in options}


def _read(conf: cfg.ConfigOpts, section: str, opt: cfg.Opt) -> Any:
    try:
        conf.register_opt(opt, group=section)
        value = conf[section][opt.dest]
    except cfg.DuplicateOptError:
        return _read_foreign(conf, section, opt)
    except (cfg.Error, ValueError) as error:
        # oslo.config's own text names the file in a form for programmers.
        raise _wrong(section, opt, error.__context__ or error) from error
    return _required(section, opt, value)


def _read_foreign(conf: cfg.ConfigOpts, section: str, opt: cfg.Opt) -> Any:
    """Read an option that another library has registered in the same section, its own way.

    That stays as it is. A value that somebody set counts here too, the other one's default not.
    """
    try:
        value = conf[section][opt.dest]
        location = conf.get_location(opt.dest, section)
    except (cfg.Error, ValueError) as error:
        raise _wrong(section, opt, error.__context__ or error) from error
    is_set = location is not None and location.location is not cfg.Locations.opt_default
    return _converted(section, opt, value if is_set else None)


def check(values: Mapping[str, Any], options: Iterable[cfg.Opt]) -> dict[str, Any]:
    """Check values that were passed by name, as in a section, and add the defaults.

    A value may be of the option's own type, or text as a configuration file has it; None is the
    same as none.

    :raises ConfigError: there is no such option, or a value is missing or wrong
    """
    names = {name: opt for opt in options for name in _names(opt)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            known = ", ".join(sorted({opt.dest for opt in names.values()}))
            raise exceptions.ConfigError(f"{name}: there is no such option; there are {known}")
        dest = names[name].dest
        if value is None:
            continue
        if dest in given:
            raise exceptions.ConfigError(f"{dest}: given twice, by two of its names; give one")
        given[dest] = value
    return {opt.dest: _converted("", opt, given.get(opt.dest)) for opt in names.values()}


def _names(opt: cfg.Opt) -> list[str]:
    return [opt.dest, *(old.name for old in opt.deprecated_opts if old.name)]


def _converted(section: str, opt: cfg.Opt, value: Any) -> Any:
    if value is None:
        value = opt.default
    if value is not None:
        try:
            value = opt.type(_plain(opt, value))
        except ValueError as error:
            raise _wrong(section, opt, error) from error
        except (AttributeError, TypeError) as error:
            # The types take for granted that what is not of their own type is text.
            raise _wrong(section, opt, f"a {type(value).__name__} will not do") from error
    return _required(section, opt, value)


def _plain(opt: cfg.Opt, value: Any) -> Any:
    """Keep the types from taking 2.5 for 2, True for 1, or a list for its text."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes | bytearray):
        raise ValueError(f"{exceptions.shown(value)} is not text")
    if isinstance(opt.type, types.String):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{exceptions.shown(value)} is not text")
    elif isinstance(value, bool | float):
        return str(value)
    return value


def _required(section: str, opt: cfg.Opt, value: Any) -> Any:
    if value is None:
        # Empty text, for a number, is none.
        value = opt.default
    if value is None and opt.required:
        raise exceptions.ConfigError(f"{where(section, opt.dest)}: it must be set; {opt.help}")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and not spec.is_plain(text):
            raise _wrong(section, opt, f"{exceptions.shown(text)} contains control characters")
    return value


def _wrong(section: str, opt: cfg.Opt, reason: BaseException | str) -> exceptions.ConfigError:
    said = "the value is not valid" if opt.secret else str(reason)
    return exceptions.ConfigError(f"{where(section, opt.dest)}: {said}; give {_wanted(opt)}")


def _wanted(opt: cfg.Opt) -> str:
    kind = opt.type
    if choices := getattr(kind, "choices", None):
        return "one of " + ", ".join(str(choice) for choice in choices)
    if isinstance(kind, types.Boolean):
        return "true or false"
    if isinstance(kind, types.Number):
        text = "a whole number" if isinstance(kind, types.Integer) else "a number"
        if kind.min is not None:
            text += f" from {kind.min:g}"
        if kind.max is not None:
            text += f" to {kind.max:g}"
        if isinstance(kind, PowerOfTwo):
            text += ", a power of two"
        return text
    if isinstance(kind, types.String):
        return "text"
    return f"a {getattr(kind, 'type_name', 'valid one')}"
