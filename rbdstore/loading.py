# SPDX-License-Identifier: Apache-2.0
"""From a section of a configuration, or from values, to a driver and a store over it."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, cast

import stevedore
from oslo_config import cfg
from oslo_log import log
from stevedore import exception as stevedore_exceptions

from rbdstore import driver, exceptions, metrics, opts, spec
from rbdstore.driver import Administration
from rbdstore.store import Store

LOG = log.getLogger(__name__)

NAMESPACE: Final = "rbdstore.drivers"
_ENABLED: Final = opts.where(opts.GROUP, "enabled_backends")
_DEFAULT: Final = opts.where(opts.GROUP, "default_backend")


def load(
    conf: cfg.ConfigOpts | str | os.PathLike[str] | None = None, backend: str | None = None
) -> Store:
    """Return the store that a configuration describes.

    :param conf: a configuration that was read already, or the path of a file; None: the usual
        places of ``rbdstore.conf``, below the home directory and ``/etc``
    :param backend: its name in ``enabled_backends``; None: ``default_backend``, or the only one
    :raises ConfigError: naming section, option and mend
    """
    conf = configuration(conf)
    backends, default = enabled(conf)
    section = _choose(backends, default, backend)
    known = conf.list_all_sections()
    # A section may also have been made by whoever registered options and set them.
    if section not in conf and section.lower() not in {name.lower() for name in known}:
        raise exceptions.ConfigError(
            f"[{section}]: there is no such section, which {_ENABLED} asks for; add it with the "
            f"backend's options, or take {section}:{backends[section]} out of {_ENABLED}"
        )
    source = f"{_ENABLED} = {section}:{backends[section]}"
    found = find(backends[section], source)
    values = opts.read(conf, section, options_of(found, source))
    return _open(found, values, section, source, section)


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """A backend that a configuration enables.

    :ivar is_default: whether it is the one that :func:`load` takes where none is asked for
    """

    name: str
    driver: str
    is_default: bool


def backends(conf: cfg.ConfigOpts | str | os.PathLike[str] | None = None) -> list[Backend]:
    """The backends that a configuration enables, in its order. None of them is opened.

    :param conf: as for :func:`load`
    :raises ConfigError: there is none, or the section [rbdstore] is wrong
    """
    found, default = enabled(configuration(conf))
    if default or len(found) < 2:
        default = _choose(found, default, None)
    return [Backend(name, driver, name == default) for name, driver in found.items()]


def connect(driver: str, /, **options: Any) -> Store:
    """Return a store without a configuration file.

    :param driver: the name of an installed driver, such as ``rbd``
    :param options: as in a backend's section, as text or as the types they have
    :raises ConfigError: naming option and mend
    """
    if not isinstance(driver, str) or not spec.is_plain(driver):
        raise exceptions.ConfigError(
            f"a driver is named by text, such as 'rbd', not by {exceptions.shown(driver)}"
        )
    source = f"driver {driver}"
    found = find(driver, source)
    values = opts.check(options, options_of(found, source))
    return _open(found, values, "", source, f"{driver}/{values['rbd_pool']}")


def administer(driver: str, /, *, keyring: str = "", **options: Any) -> Administration:
    """Connect to a cluster as whoever sets it up.

    :param driver: the name of an installed driver that has such clusters, such as ``rbd``
    :param keyring: the path of the file with the user's key; empty: where ceph.conf says
    :param options: as in a backend's section: ``rbd_user`` is the administrator
    :raises ConfigError: naming option and mend
    :raises NotSupported: the driver has no cluster that would want to be set up
    :raises Unreachable: no monitor answers, or the key is refused
    """
    source = f"driver {driver}"
    found = find(driver, source)
    if not hasattr(found, "administer"):
        raise exceptions.NotSupported(f"{source}: it has no cluster that would want to be set up")
    values = opts.check(options, options_of(found, source))
    return found().administer(values, keyring=keyring)


def list_opts() -> list[tuple[str | cfg.OptGroup, list[cfg.Opt]]]:
    """Every option, for ``oslo-config-generator``: a section for each installed driver."""
    drivers: stevedore.ExtensionManager[Any] = stevedore.ExtensionManager(
        NAMESPACE, on_load_failure_callback=_skip
    )
    sections: list[tuple[str | cfg.OptGroup, list[cfg.Opt]]] = [(opts.GROUP, [*opts.BACKENDS])]
    for found in sorted(drivers, key=lambda extension: extension.name):
        group = cfg.OptGroup(
            found.name,
            help=f"A backend of the driver {found.name}. There may be any number of them: the "
            "section's name is the backend's, in enabled_backends.",
        )
        sections.append((group, options_of(found.plugin, f"driver {found.name}")))
    return sections


def configuration(conf: cfg.ConfigOpts | str | os.PathLike[str] | None) -> cfg.ConfigOpts:
    if isinstance(conf, cfg.ConfigOpts):
        return conf
    files = None if conf is None else [_path(conf)]
    private = cfg.ConfigOpts()
    try:
        private([], project="rbdstore", default_config_files=files, default_config_dirs=[])
    except (cfg.Error, OSError, UnicodeDecodeError) as error:
        where = f"{files[0]}: " if files and files[0] not in str(error) else ""
        raise exceptions.ConfigError(
            f"{where}{error}; name a file in the form that oslo.config reads"
        ) from error
    if files is None and not private.config_file:
        raise exceptions.ConfigError(
            "there is no rbdstore.conf in ~/.rbdstore, ~, /etc/rbdstore or /etc; write one, or "
            "name another file"
        )
    return private


def enabled(conf: cfg.ConfigOpts) -> tuple[Mapping[str, str], str | None]:
    """The backends, each with its driver, and what is said of the default."""
    values = opts.read(conf, opts.GROUP, opts.BACKENDS)
    return values["enabled_backends"] or {}, values["default_backend"]


def _path(conf: object) -> str:
    if not isinstance(conf, str | os.PathLike) or not spec.is_plain(path := os.fsdecode(conf)):
        raise exceptions.ConfigError(
            "a configuration is an oslo.config ConfigOpts or the path of a file, not "
            f"{exceptions.shown(conf)}"
        )
    return os.path.abspath(path)


def _choose(backends: Mapping[str, str], default: str | None, wanted: str | None) -> str:
    names = ", ".join(backends)
    if not backends:
        raise exceptions.ConfigError(
            f"{_ENABLED}: no backend is configured; add one, such as 'volumes:rbd', and its "
            "options in a section [volumes]"
        )
    if wanted is not None:
        if not isinstance(wanted, str) or wanted not in backends:
            raise exceptions.ConfigError(
                f"{_ENABLED}: there is no backend {exceptions.shown(wanted)}; ask for one of "
                f"{names}, or add it"
            )
        return wanted
    if default:
        if default not in backends:
            raise exceptions.ConfigError(
                f"{_DEFAULT}: there is no backend {default!r}; set it to one of {names}, or add "
                f"it to {_ENABLED}"
            )
        return default
    if len(backends) > 1:
        raise exceptions.ConfigError(
            f"{_DEFAULT}: there are several backends and no default; set it to one of {names}"
        )
    return next(iter(backends))


def find(name: str, source: str) -> type[driver.Driver]:
    """Return the class of an installed driver.

    :param source: where the name is from, for the texts of errors
    """

    def failed(_manager: object, entry_point: object, error: BaseException) -> NoReturn:
        missing = error.name if isinstance(error, ImportError) and error.name else error
        raise exceptions.ConfigError(
            f"{source}: the driver {name!r} cannot be imported, for want of {missing}; install "
            f"that, or repair the package that brings the driver ({error})"
        ) from error

    # Asked for one that is missing, stevedore logs a warning beside the error.
    if name not in _installed():
        installed = ", ".join(_installed()) or "none, not even rbdstore's own: is it installed?"
        raise exceptions.ConfigError(
            f"{source}: there is no driver {name!r}; install the package that brings it, or name "
            f"one of those installed: {installed}"
        )
    try:
        manager: stevedore.DriverManager[driver.Driver] = stevedore.DriverManager(
            NAMESPACE,
            name,
            on_load_failure_callback=failed,
            on_missing_entrypoints_callback=None,
        )
    except stevedore_exceptions.MultipleMatches as error:
        raise exceptions.ConfigError(
            f"{source}: several installed packages bring a driver {name!r}; uninstall all but "
            f"one ({error})"
        ) from error
    found: Any = manager.extensions[0].plugin
    opens = callable(getattr(found, "open", None)) and not inspect.isabstract(found)
    if not inspect.isclass(found) or not opens:
        raise exceptions.ConfigError(
            f"{source}: {found!r} is no driver: its entry point must name a class with open(); "
            "repair the package that brings it"
        )
    version = getattr(found, "API_VERSION", None)
    if version != driver.API_VERSION:
        raise exceptions.ConfigError(
            f"{source}: the driver {name!r} is made for version {version} of the interface, and "
            f"this rbdstore has version {driver.API_VERSION}; install a release of the driver, or "
            "of rbdstore, that fits"
        )
    return cast(type[driver.Driver], found)


def _installed() -> Iterable[str]:
    manager: stevedore.NamedExtensionManager[object] = stevedore.NamedExtensionManager(
        NAMESPACE, names=[]
    )
    return sorted(set(manager.entry_points_names()))


def _skip(_manager: object, entry_point: object, error: BaseException) -> None:
    LOG.warning("%s is left out: %s", entry_point, error)


def options_of(found: type[driver.Driver], source: str) -> list[cfg.Opt]:
    options = {opt.dest: opt for opt in opts.COMMON}
    for opt in getattr(found, "OPTIONS", ()):
        if options.setdefault(opt.dest, opt) != opt:
            raise exceptions.ConfigError(
                f"{source}: its option {opt.dest} is one that every backend has; the driver must "
                "name it otherwise"
            )
    return list(options.values())


def _open(
    found: type[driver.Driver], values: dict[str, Any], section: str, source: str, name: str
) -> Store:
    """``name`` is the backend's, for whoever reads logs and metrics."""
    settings = dataclasses.replace(opts.settings_from(values), backend=name)
    if settings.metrics:
        metrics.enable()
    try:
        cluster = found().open({**values, "section": section})
    except exceptions.ConfigError as error:
        # Of what is not about one option, a driver does not know where it was asked for.
        if section and f"[{section}]" not in str(error):
            raise exceptions.ConfigError(f"{source}: {error}") from error
        raise
    except ImportError as error:
        raise exceptions.ConfigError(
            f"{source}: the driver needs the module {error.name}, which cannot be imported; "
            f"install it ({error})"
        ) from error
    return Store(cluster, settings)
