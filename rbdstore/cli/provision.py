# SPDX-License-Identifier: Apache-2.0
"""``provision``: a cluster set up for the services, and the files that they need for it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import yaml
from cliff import lister

from rbdstore import exceptions, loading
from rbdstore.cli import base, files, interrupts, shapes
from rbdstore.provision import planning, roles
from rbdstore.provision.description import USUAL_DIR, USUAL_ROLES, Description

# Seconds for one request; a pool that has just been made is served within some.
_LIMIT: Final = 60
_NOTHING: Final = "Nothing to change: all of it is there."


class Provision(base.Command, lister.Lister):
    """Set a cluster up: pools, users with the least capabilities, and the files that name them.

    What is wanted is told by options, or in a file (YAML) with the same names, or by both: options
    win. What is there stays: no pool is changed but for what it lacks to hold images, no key is
    made anew, no capability is taken away, and no file is replaced, unless an option says so. A
    second run changes nothing.
    """

    synopsis = "[DESCRIPTION]"
    _plan: planning.Plan

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "description",
            metavar="DESCRIPTION",
            nargs="?",
            help="a file (YAML); -: standard input",
        )
        _add_wanted(parser.add_argument_group("what is to be there"))
        _add_cluster(parser.add_argument_group("the cluster"))
        how = parser.add_argument_group("how")
        how.add_argument(
            "--dry-run",
            action="store_true",
            help="change nothing: print the commands that would do the same, or with --json the "
            "outcome",
        )
        how.add_argument(
            "--lower-caps",
            action="store_true",
            help="take from users that there are what they do not need",
        )
        how.add_argument(
            "--force", action="store_true", help="replace files that are there and differ"
        )
        base.add_json(how)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        wanted = Description.read(_described(parsed_args))
        with contextlib.ExitStack() as stack:
            with interrupts.at_once():
                admin = stack.enter_context(
                    loading.administer(
                        "rbd",
                        keyring=parsed_args.admin_keyring or "",
                        rbd_user=parsed_args.admin_user,
                        rbd_ceph_conf=parsed_args.ceph_conf,
                        rbd_operation_timeout=_LIMIT,
                    )
                )
                plan = planning.make(
                    admin, wanted, lower_caps=parsed_args.lower_caps, force=parsed_args.force
                )
            if not parsed_args.dry_run:
                plan.run(admin)
        self._plan = plan
        columns: Sequence[str] = ("kind", "name", "outcome", "notes", "commands")
        if parsed_args.formatter == self.formatter_default and not parsed_args.columns:
            # They are long: for people a dry run has them as they are, and nothing else.
            columns = columns[:-1]
        return columns, [
            (
                step.kind,
                shapes.Name(step.name),
                step.outcome,
                shapes.Lines([*step.notes]),
                shapes.Lines([command.line for command in step.commands]),
            )[: len(columns)]
            for step in plan.steps
        ]

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        for_people = parsed_args.formatter == self.formatter_default
        if for_people and parsed_args.dry_run:
            lines = list(self._plan.lines()) or [f"# {_NOTHING}"]
            self.app.stdout.write("".join(f"{shapes.printable(line)}\n" for line in lines))
            return 0
        status = super().produce_output(parsed_args, column_names, data)
        if for_people and self._plan.is_done:
            self.app.stdout.write(f"{_NOTHING}\n")
        return status


def _add_wanted(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--role",
        metavar="ROLE",
        action="append",
        choices=tuple(roles.WORK),
        help=f"a user to make: {', '.join(roles.WORK)}; may be given again (default: "
        f"{', '.join(USUAL_ROLES)})",
    )
    group.add_argument(
        "--pool",
        metavar="KIND=NAME",
        dest="pools",
        type=pool,
        action="append",
        help=f"the pool for {', '.join(roles.KINDS)}; again: another one of a kind; without a "
        "name: none (default: each as its kind)",
    )
    group.add_argument(
        "--replicas", metavar="NUMBER", type=int, help="of new pools (default: the cluster's)"
    )
    groups = group.add_mutually_exclusive_group()
    groups.add_argument(
        "--pg-num", metavar="NUMBER", type=int, help="placement groups of new pools, fixed"
    )
    groups.add_argument(
        "--pg-autoscale",
        action="store_true",
        default=None,
        help="have the cluster find the number of placement groups (default: the cluster's)",
    )
    group.add_argument(
        "--owner",
        metavar="[ROLE=]USER[:GROUP]",
        dest="owners",
        action="append",
        help="to whom keyrings are to belong, all of them or a role's (default: who runs this)",
    )
    group.add_argument(
        "--secret-uuid",
        metavar="ROLE=UUID",
        dest="secrets",
        type=shapes.pair,
        action="append",
        help="libvirt's name for a role's key (default: one that depends on cluster and role)",
    )
    group.add_argument(
        "--output-dir", metavar="DIR", help=f"where the files go (default: {USUAL_DIR})"
    )


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ceph-conf", metavar="FILE", default="", help="its ceph.conf (default: where Ceph looks)"
    )
    group.add_argument(
        "--admin-user",
        metavar="NAME",
        default="admin",
        help="as whom to do it, without 'client.' (default: %(default)s)",
    )
    group.add_argument(
        "--admin-keyring",
        metavar="FILE",
        help="the keyring of that user (default: as ceph.conf says)",
    )


def pool(text: str) -> tuple[str, str]:
    """Kind and name, from ``KIND=NAME``."""
    kind, name = shapes.pair(text)
    if kind not in roles.KINDS:
        raise argparse.ArgumentTypeError(
            f"{kind!r} is no kind of pool: there are {', '.join(roles.KINDS)}"
        )
    return kind, name


def _described(options: argparse.Namespace) -> object:
    """What the file says, and over it what the options say."""
    said = _read(options.description) if options.description else {}
    if not isinstance(said, dict):
        return said
    told = {
        "roles": options.role,
        "pools": _pools(options.pools, said.get("pools")),
        "replicas": options.replicas,
        "pg_num": options.pg_num,
        "pg_autoscale": options.pg_autoscale,
        "owner": _owners(options.owners),
        "secret_uuid": dict(options.secrets) if options.secrets else None,
        "output_dir": options.output_dir,
    }
    if told["pg_num"] or told["pg_autoscale"]:
        # The one that is told is meant in place of the other.
        said = {key: value for key, value in said.items() if not key.startswith("pg_")}
    return {**said, **{key: value for key, value in told.items() if value is not None}}


def _read(path: str) -> object:
    """:raises InvalidInput: it is no YAML"""
    try:
        with files.opened(path) as file:
            return yaml.safe_load(file) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise exceptions.InvalidInput(
            f"{path}: it is not in the form of YAML ({error})"
        ) from error


def _pools(told: Sequence[tuple[str, str]] | None, said: object) -> object:
    if not told:
        return None
    pools: dict[str, list[str]] = {}
    for kind, name in told:
        pools.setdefault(kind, []).extend([name] if name else [])
    return {**said, **pools} if isinstance(said, dict) else pools


def _owners(told: Sequence[str] | None) -> object:
    """One for all, or one for each role that is named."""
    if not told:
        return None
    if len(told) == 1 and "=" not in told[0]:
        return told[0]
    if not all("=" in text for text in told):
        raise exceptions.InvalidInput("owner: give one for all, or one for each as ROLE=USER")
    return dict(text.split("=", 1) for text in told)
