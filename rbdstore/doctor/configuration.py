# SPDX-License-Identifier: Apache-2.0
"""What the configuration says, and what in it nobody reads.

oslo.config passes over whatever it does not know: an option that is misspelt, and a section that
no backend is enabled for, are as good as not there. So the files are read once more here, by
oslo.config's own parser.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.metadata
import os
import pathlib
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from oslo_config import cfg

from rbdstore import exceptions, loading, opts
from rbdstore.checks import SECTION, Check, Mend, Outcome, failed, passed, warned
from rbdstore.doctor.backend import Backend

_DEFAULT: Final = "DEFAULT"
_ENABLED: Final = "enabled_backends"
_ALIKE: Final = 0.8
# Options of Cinder's, Glance's and Nova's sections that mean nothing here, and are no misspelling
# of one that does.
_STOCK: Final = frozenset(
    {
        *("rbd_exclusive_cinder_pool", "replication_connect_timeout", "replication_device"),
        *("rbd_iscsi_pool_name", "rbd_thin_provisioning", "rbd_store_thin_provisioning"),
        *("backup_ceph_chunk_size", "backup_ceph_stripe_unit", "backup_ceph_stripe_count"),
        *("backup_ceph_image_journals", "images_rbd_glance_store_name"),
        *("images_rbd_glance_copy_timeout", "images_rbd_glance_copy_poll_interval"),
    }
)
# Sections of theirs, as is any with a volume_driver, for which their own drivers are loaded.
_OTHERS: Final = ("glance_store", "libvirt")


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A configuration file, and what it sets: option and last value, by section."""

    path: str
    sections: Mapping[str, Mapping[str, str]]


class Configuration:
    """The files of a configuration, and the backends in them.

    :ivar files: in the order in which they are read: later ones win
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf
        self.files = [_parsed(path) for path in _paths(conf)]
        self.enabled: Mapping[str, str] = {}

    def checks(self) -> Iterator[Check]:
        """Of the configuration as a whole."""
        yield Check("configuration", self._read, vital=True)
        yield Check("backends", self._backends, vital=True)
        yield Check("unused sections", self._unused)

    def backend(self, name: str) -> Backend:
        """An enabled backend: what is known of it before anything of it is looked at."""
        words = ["rbdstore", "--config-file", self._file_of(opts.GROUP), "--backend", name]
        return Backend(
            name, self.enabled[name], section=self._place(name), command=shlex.join(words)
        )

    def checks_of(self, backend: Backend) -> Iterator[Check]:
        """Of a backend's section."""
        name = backend.name
        yield Check("section", functools.partial(self._section, name), vital=True)
        yield Check("driver", functools.partial(self._driver, backend), vital=True)
        yield Check("spelling", functools.partial(self._spelling, backend))
        yield Check("options", functools.partial(self._options, backend), vital=True)

    # The whole

    def _read(self) -> Outcome:
        if not self.files:
            return passed("from no file: set by the program")
        versions = f"rbdstore {_version('rbdstore')}, oslo.config {_version('oslo.config')}"
        return passed(f"{', '.join(each.path for each in self.files)}; read by {versions}")

    def _backends(self) -> Outcome:
        said = self._strange(opts.GROUP, list(opts.BACKENDS))
        place = self._place(opts.GROUP)
        problem = "none is enabled"
        default = None
        try:
            self.enabled, default = loading.enabled(self.conf)
        except exceptions.ConfigError as error:
            problem = str(error)
        if not self.enabled:
            found = dict(self._sections_unused()) or {"volumes": "rbd"}
            return failed(problem, *(said or [Mend(_line(found), place)]))
        shown = ", ".join(f"{name}:{driver}" for name, driver in self.enabled.items())
        if default and default not in self.enabled:
            meant = difflib.get_close_matches(default, self.enabled, 1) or list(self.enabled)
            return failed(
                f"the default backend {default!r} is none of those enabled: {shown}",
                *said,
                Mend(f"default_backend = {meant[0]}", place),
            )
        if said:
            return warned(f"{shown}; an option is misspelt", *said)
        if not default and len(self.enabled) > 1:
            return passed(f"{shown}; there is no default, so whoever uses one has to name it")
        return passed(shown)

    def _unused(self) -> Outcome:
        unused = list(self._sections_unused())
        if not unused:
            return passed("none looks like a backend's")
        enabled = {**self.enabled, **dict(unused)}
        names = ", ".join(f"[{name}]" for name, _ in unused)
        return warned(
            f"{names} has a backend's options, and {_ENABLED} does not name it",
            Mend(_line(enabled), self._place(opts.GROUP)),
        )

    def _sections_unused(self) -> Iterator[tuple[str, str]]:
        """Sections with options of backends that are not enabled, and what driver they are for."""
        known = _known()
        enabled = {name.lower() for name in self.enabled}
        for name in dict.fromkeys(name for file in self.files for name in file.sections):
            if name in (_DEFAULT, opts.GROUP) or name.lower() in enabled:
                continue
            said = self._set_in(name).keys()
            if name in _OTHERS or "volume_driver" in said:
                continue
            fits = {driver: len(said & names) for driver, names in known.items()}
            if fits and max(fits.values()):
                # Of two that know as much, the one that is used already.
                used = set(self.enabled.values())
                yield name, max(fits, key=lambda each: (fits[each], each in used))

    # A section

    def _section(self, name: str) -> Outcome:
        found = [file for file in self.files if _has(file, name)]
        if not found and (self.files or name not in self.conf):
            there = [name for name, _ in self._sections_unused()]
            meant = difflib.get_close_matches(name, there, 1) or there[:1]
            place = self._place(opts.GROUP)
            if not meant:
                return failed(
                    f"there is no section [{name}], which {_ENABLED} asks for",
                    Mend(f"[{name}]", self._file_of(opts.GROUP)),
                )
            pairs = {meant[0] if each == name else each: it for each, it in self.enabled.items()}
            return failed(
                f"there is no section [{name}], which {_ENABLED} asks for; there is [{meant[0]}]",
                Mend(_line(pairs), place),
            )
        if not found:
            return passed(f"[{name}], set by the program")
        said = self._set_in(name)
        seen = f"[{name}] in {', '.join(file.path for file in found)}"
        twice = [option for option in said if sum(option in _in(file, name) for file in found) > 1]
        if twice:
            seen += f"; the last file's value counts of {', '.join(twice)}"
        return passed(f"{seen}: {', '.join(said) or 'nothing'}")

    def _driver(self, backend: Backend) -> Outcome:
        try:
            return backend.find_driver()
        except exceptions.ConfigError as error:
            meant = difflib.get_close_matches(backend.driver_name, _known(), 1)
            pairs = {**self.enabled, backend.name: meant[0]} if meant else {}
            mends = [Mend(_line(pairs), self._place(opts.GROUP))] if meant else []
            return failed(str(error), *mends)

    def _spelling(self, backend: Backend) -> Outcome:
        options = backend.options()
        mends = self._strange(backend.name, options)
        known = set(_names(options))
        said = self._set_in(backend.name)
        unread = sorted(said.keys() - known)
        if mends:
            return warned(f"nobody reads {', '.join(unread)}", *mends)
        return passed(f"nobody reads {', '.join(unread)}, nor need they" if unread else "all read")

    def _strange(self, section: str, options: Sequence[cfg.Opt]) -> list[Mend]:
        """A line in place of each option that is another one, misspelt."""
        known = {name: opt for opt in options for name in _names([opt])}
        said = self._set_in(section)
        mends = []
        for name in sorted(said.keys() - known.keys() - _STOCK):
            plain = name.lower().replace("-", "_").replace(" ", "_")
            if meant := difflib.get_close_matches(plain, known, 1, _ALIKE):
                value = "..." if known[meant[0]].secret else said[name]
                place = f"{self._place(section)}, in place of {name}"
                mends.append(Mend(f"{meant[0]} = {value}", place))
        return mends

    def _options(self, backend: Backend) -> Outcome:
        options = backend.options()
        problems = []
        for opt in options:
            try:
                backend.values |= opts.read(self.conf, backend.name, [opt])
            except exceptions.ConfigError as error:
                problems.append((opt, str(error)))
        if problems:
            return failed(
                "; ".join(text for _, text in problems),
                *(
                    Mend(f"{opt.name} = {opt.default}", SECTION)
                    for opt, _ in problems
                    if opt.default is not None
                ),
            )
        backend.values["section"] = backend.name
        return passed(f"{len(options)} options, each with a value that it may have")

    # Files

    def _set_in(self, section: str) -> dict[str, str]:
        """What all files set in a section; the last one counts."""
        return {
            option: value for file in self.files for option, value in _in(file, section).items()
        }

    def _file_of(self, section: str) -> str:
        paths = [file.path for file in self.files if _has(file, section)]
        return (paths or [file.path for file in self.files] or ["the configuration"])[-1]

    def _place(self, section: str) -> str:
        return f"{self._file_of(section)} [{section}]"


class Options:
    """A backend without a configuration: driver and options of the command line."""

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        self._given = values
        words = ["rbdstore", "--driver", name]
        words += [word for pair in values.items() for word in ("--option", "=".join(pair))]
        self._backend = Backend("", name, section="--option", command=shlex.join(words))

    def backend(self) -> Backend:
        return self._backend

    def checks_of(self, backend: Backend) -> Iterator[Check]:
        yield Check("driver", backend.find_driver, vital=True)
        yield Check("options", self._options, vital=True)

    def _options(self) -> Outcome:
        options = self._backend.options()
        known = list(_names(options))
        for name, value in self._given.items():
            meant = difflib.get_close_matches(name, known, 1, _ALIKE)
            if name not in known and meant:
                return failed(
                    f"there is no option {name}", Mend(f"{meant[0]}={value}", "--option")
                )
        self._backend.values = opts.check(self._given, options)
        return passed(f"set: {', '.join(self._given) or 'none'}")


def opened(conf: cfg.ConfigOpts | str | os.PathLike[str] | None) -> Configuration:
    """:raises ConfigError: there is no such file, or it cannot be read"""
    return Configuration(loading.configuration(conf))


def _paths(conf: cfg.ConfigOpts) -> Iterator[str]:
    """In the order in which oslo.config reads them."""
    for option in ("config_file", "config_dir"):
        try:
            named = getattr(conf, option)
        except (cfg.Error, AttributeError):
            # It was never called.
            continue
        for path in [named] if isinstance(named, str) else named or ():
            if option == "config_file":
                yield str(path)
            else:
                yield from map(str, sorted(pathlib.Path(path).glob("*.conf")))


def _parsed(path: str) -> File:
    sections: dict[str, dict[str, Any]] = {}
    cfg.ConfigParser(path, sections).parse()
    return File(
        path,
        {
            name: {option: str(values[-1]) for option, values in options.items()}
            for name, options in sections.items()
        },
    )


def _has(file: File, section: str) -> bool:
    return any(name.lower() == section.lower() for name in file.sections)


def _in(file: File, section: str) -> Mapping[str, str]:
    """What a file sets in a section. Their names are compared as oslo.config does."""
    found: dict[str, str] = {}
    for name, options in file.sections.items():
        if name.lower() == section.lower():
            found |= options
    return found


def _names(options: Iterable[cfg.Opt]) -> Iterator[str]:
    for opt in options:
        yield opt.dest
        yield from (old.name for old in opt.deprecated_opts if old.name)


def _known() -> dict[str, set[str]]:
    """The drivers that are installed, and the names of the options that a section may have."""
    return {
        group.name: set(_names(options))
        for group, options in loading.list_opts()
        if isinstance(group, cfg.OptGroup)
    }


def _line(backends: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{name}:{driver}" for name, driver in backends.items())
    return f"{_ENABLED} = {pairs}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
