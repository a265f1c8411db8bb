# SPDX-License-Identifier: Apache-2.0
"""The application: which backend a command works on, and how it ends.

Exit statuses: 0 done, 1 an error, said in one line on stderr, 2 wrong usage, 3 of the doctor where
there are warnings and nothing worse, 128 and the signal's number when one ended it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, cast

from cliff import app, command, commandmanager

import rbdstore
from rbdstore import exceptions
from rbdstore.cli import complete, interrupts, shapes, streams, usage

CONFIG_VARIABLE: Final = "RBDSTORE_CONFIG"
_BROKEN_PIPE: Final = 141

_EPILOG: Final = f"""\
Which backend: --driver with its --option's needs no file; else the configuration is --config-file,
${CONFIG_VARIABLE}, or rbdstore.conf in ~/.rbdstore, ~, /etc/rbdstore or /etc, and the backend in
it --backend, or the default one.
"""


class RbdStore(app.App):
    """The command ``rbdstore``."""

    NAME = "rbdstore"
    LOG = logging.getLogger(NAME)
    # What the library logs is for services; a command says what it did itself.
    DEFAULT_VERBOSE_LEVEL = 0

    options: argparse.Namespace

    def __init__(self) -> None:
        super().__init__(
            description="Block images on Ceph RBD: images, and the volumes, snapshots and clones "
            "made from them.",
            version=rbdstore.__version__,
            command_manager=commandmanager.CommandManager("rbdstore.cli"),
            deferred_help=True,
        )
        self.command_manager.add_command("complete", complete.Complete)
        self._stores = contextlib.ExitStack()
        self._at_end = contextlib.ExitStack()

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=self.NAME,
            description=description,
            epilog=_EPILOG,
            add_help=False,
            allow_abbrev=False,
            usage="%(prog)s [OPTION]... NOUN VERB [OPTION]... [ARGUMENT]...",
        )
        usage.in_one_line(parser)
        which = parser.add_argument_group("which backend")
        which.add_argument(
            "--config-file",
            metavar="FILE",
            help=f"the configuration to read (default: ${CONFIG_VARIABLE}, or the usual places)",
        )
        which.add_argument(
            "--backend", metavar="NAME", help="the backend in it (default: default_backend)"
        )
        which.add_argument(
            "--driver", metavar="NAME", help="no configuration: this driver, such as rbd or file"
        )
        which.add_argument(
            "--option",
            metavar="NAME=VALUE",
            dest="driver_options",
            type=shapes.option,
            action="append",
            default=[],
            help="an option of --driver, as in a backend's section; may be given again",
        )
        general = parser.add_argument_group("general")
        general.add_argument(
            "-h", "--help", dest="deferred_help", action="store_true", help="show this, and exit"
        )
        general.add_argument("--version", action="store_true", help="show the version, and exit")
        general.add_argument(
            "-v",
            "--verbose",
            action="count",
            dest="verbose_level",
            default=self.DEFAULT_VERBOSE_LEVEL,
            help="show what the library logs; twice: everything",
        )
        general.add_argument("--log-file", metavar="FILE", help="write a log there as well")
        general.add_argument(
            "--debug", action="store_true", help="show the trace of an error, not its text alone"
        )
        return parser

    def configure_logging(self) -> None:
        """Log to stderr, a line for each event, and to a file where one is named."""
        root = logging.getLogger()
        root.setLevel(logging.DEBUG)
        level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(self.options.verbose_level, 2)]
        self._log_to(logging.StreamHandler(self.stderr), level, _OneLine(f"{self.NAME}: "))
        if self.options.log_file:
            formatter = logging.Formatter(self.LOG_FILE_MESSAGE_FORMAT)
            self._log_to(_LogFile(self.options.log_file), logging.DEBUG, formatter)

    def _log_to(self, handler: logging.Handler, level: int, formatter: logging.Formatter) -> None:
        handler.setLevel(level)
        handler.setFormatter(formatter)
        logging.getLogger().addHandler(handler)
        self._at_end.callback(handler.close)
        self._at_end.callback(logging.getLogger().removeHandler, handler)

    def store(self, backend: str | None = None) -> rbdstore.Store:
        """Open the backend that the command line names, or another one of its configuration.

        It is closed when the command ends.

        :raises ConfigError:
        """
        options = self.options
        if options.driver is not None:
            if backend is not None:
                raise exceptions.ConfigError(
                    f"with --driver there is no backend {backend!r}; use a configuration file"
                )
            found = rbdstore.connect(options.driver, **dict(options.driver_options))
        else:
            found = rbdstore.load(self.config_file, backend or options.backend)
        return self._stores.enter_context(found)

    @property
    def config_file(self) -> str | None:
        """The configuration that was asked for; None: the usual places."""
        return self.options.config_file or os.environ.get(CONFIG_VARIABLE) or None

    # How a command begins and ends

    def initialize_app(self, argv: list[str]) -> None:
        options = self.options
        if options.version:
            # Not argparse's own, which would not be told where it cannot be written.
            self.stdout.write(f"{self.NAME} {rbdstore.__version__}\n")
            self.stdout.flush()
            raise SystemExit
        if options.driver is None and options.driver_options:
            self.parser.error("--option belongs to --driver; in a configuration, set it there")
        if options.driver is not None and (options.config_file or options.backend):
            self.parser.error("--driver needs no configuration: give neither of the others")
        self.print_help_if_requested()

    def interact(self) -> None:
        """Say what there is. There is no shell of our own: the user's is better."""
        self.parser.error("give a noun and a verb")

    def run_subcommand(self, argv: list[str]) -> int:
        asked = [word for word in argv[1:] if not word.startswith("-")]
        if argv[0] == "help" and asked and not self._begin_with(asked[0]):
            self.LOG.error("%s", self._unknown(asked))
            return usage.WRONG_USAGE
        try:
            self.command_manager.find_command(argv)
        except ValueError:
            if argv[0].startswith("-"):
                self.parser.error(f"unrecognized argument: {argv[0]}")
            self.LOG.error("%s", self._unknown(argv))
            return usage.WRONG_USAGE
        return super().run_subcommand(argv)

    def _unknown(self, argv: Sequence[str]) -> str:
        verbs = [name.partition(" ")[2] for name in self._begin_with(f"{argv[0]} ")]
        if verbs:
            return f"{argv[0]} takes one of {', '.join(sorted(verbs))}"
        nouns = {name.partition(" ")[0] for name in self._begin_with("")}
        return f"there is no {argv[0]}; there are {', '.join(sorted(nouns))}"

    def _begin_with(self, text: str) -> Sequence[str]:
        return [name for name, _found in self.command_manager if name.startswith(text)]

    def clean_up(self, cmd: command.Command, result: int, err: BaseException | None) -> None:
        self._stores.close()
        if isinstance(err, KeyboardInterrupt) and hasattr(err, "__notes__"):
            self.LOG.error(err)

    def run(self, argv: list[str]) -> int:
        with self._at_end:
            try:
                status = super().run(argv)
            except Exception:
                # With --debug cliff raises again what it has said, with its trace.
                status = 1
            return self._flush(status)

    def _flush(self, status: int) -> int:
        """Say it, once, where the output cannot be written; return the exit status."""
        try:
            self.stdout.flush()
        except OSError as error:
            # Else Python says it again when it ends.
            streams.discard_output()
            if not status and isinstance(error, BrokenPipeError):
                return _BROKEN_PIPE
            if not status:
                self.LOG.error(error)
                return 1
        return status


class _LogFile(logging.FileHandler):
    """A log that ends, and says so once, where it cannot be written: the command goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        logging.getLogger().removeHandler(self)
        text = _first_text(cast(BaseException, sys.exception()))
        RbdStore.LOG.warning("%s: %s; the log ends here", self.baseFilename, text)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _OneLine(logging.Formatter):
    """An event in one line, whatever names it is about; with its trace where there is one."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        said = record.msg
        text = _error_text(said) if isinstance(said, BaseException) else record.getMessage()
        line = self._prefix + shapes.printable(" ".join(text.split()))
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _error_text(error: BaseException) -> str:
    # What could not be taken back is in the notes.
    return "; ".join([_first_text(error), *getattr(error, "__notes__", ())])


def _first_text(error: BaseException) -> str:
    if isinstance(error, exceptions.RbdStoreError | argparse.ArgumentTypeError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {error} (this is a defect; --debug shows where)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.repair()
    with interrupts.raised() as signals:
        status = RbdStore().run(arguments)
    if signals.met is not None and not (signals.is_end and status == 0):
        sys.stderr.write(f"rbdstore: ended by {signals.met.name}\n")
        return 128 + signals.met
    return status
