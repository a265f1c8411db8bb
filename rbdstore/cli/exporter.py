# SPDX-License-Identifier: Apache-2.0
"""``exporter``: the pools, and the services' operations, for Prometheus."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import time
from typing import TYPE_CHECKING, Final

from rbdstore import exceptions, loading
from rbdstore.cli import base, interrupts, periods

if TYPE_CHECKING:
    from prometheus_client import registry

    from rbdstore.store import Store

# prometheus_client's own name for it.
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
_LISTEN: Final = re.compile(r"\[?(?P<host>[^\[\]]+)\]?:(?P<port>\d{1,5})", re.ASCII)


class Exporter(base.Command):
    """Tell Prometheus of the pools of all backends, and of what services do with them, over HTTP.

    The pools are looked at every so often; who asks is told what was seen last, at once. With a
    backend of the configuration, or with --driver, it is only that one. Where the environment has
    PROMETHEUS_MULTIPROC_DIR, the folder in which services count what they do, that is told, too.
    Ends with SIGTERM or Ctrl-C.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--listen",
            metavar="HOST:PORT",
            type=address,
            default=("127.0.0.1", 9294),
            help="where to answer (default: 127.0.0.1:9294); whoever may connect may read",
        )
        for name, default, what in (
            ("interval", 60.0, "how often to ask what the pools hold (default: 1m)"),
            ("survey-interval", 900.0, "how often to look at each image (default: 15m; 0: never)"),
            ("gc-interval", 0.0, "how often to look for leftovers (default: 0: never)"),
        ):
            parser.add_argument(
                f"--{name}",
                metavar="TIME",
                type=periods.period if name == "interval" else periods.period_or_never,
                default=default,
                help=what,
            )
        parser.add_argument(
            "--once",
            action="store_true",
            help="look once, write the metrics to standard output, and end",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        try:
            import prometheus_client
            from prometheus_client import registry

            from rbdstore.metrics import pools
        except ModuleNotFoundError as error:
            raise exceptions.ConfigError(
                f"the exporter needs {error.name}; install it with the extra metrics: "
                "pip install 'rbdstore[metrics]'"
            ) from error
        wanted = pools.Periods(
            parsed_args.interval, parsed_args.survey_interval, parsed_args.gc_interval
        )
        told = registry.CollectorRegistry()
        with pools.Pools(self._stores(), wanted) as seen:
            told.register(seen)
            _add_shared(told)
            if parsed_args.once:
                seen.once()
                self.app.stdout.write(prometheus_client.generate_latest(told).decode())
                return 0
            host, port = parsed_args.listen
            try:
                server, _thread = prometheus_client.start_http_server(port, host, told)
            except OSError as error:
                raise exceptions.RbdStoreError(
                    f"cannot listen on {host}:{port}: {error.strerror or error}"
                ) from error
            with interrupts.as_an_end():
                seen.start()
                self.app.stderr.write(f"rbdstore: answering on {_url(host, server.server_port)}\n")
                self.app.stderr.flush()
                _wait()
            server.shutdown()
            server.server_close()
        return 0

    def _stores(self) -> dict[str, Store]:
        options, program = self.program.options, self.program
        if options.driver is not None:
            store = program.store()
            return {f"{options.driver}/{store.pool_name}": store}
        names = [options.backend] if options.backend else []
        names = names or [found.name for found in loading.backends(program.config_file)]
        return {name: program.store(name) for name in names}


def _add_shared(told: registry.CollectorRegistry) -> None:
    """Tell of what services count, if they do."""
    folder = os.environ.get(SHARED)
    if not folder:
        return
    if not pathlib.Path(folder).is_dir():
        raise exceptions.ConfigError(f"{SHARED}: there is no folder {folder!r}; make it")
    from rbdstore.metrics import shared

    told.register(shared.Processes(folder))


def _wait() -> None:
    while True:
        time.sleep(3600)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"


def address(text: str) -> tuple[str, int]:
    """Host and port, from ``127.0.0.1:9294`` or ``[::1]:9294``."""
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address: give a host and a port, such as 127.0.0.1:9294"
        )
    return match["host"], int(match["port"])
