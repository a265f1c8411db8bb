# SPDX-License-Identifier: Apache-2.0
"""Drivers, configurations and options that are refused."""

from __future__ import annotations

import math
from typing import Any

from rbdstore import exceptions
from wrong.entries import Wrong, table

DRIVERS = [
    *table(
        exceptions.ConfigError,
        "a driver is named by text, such as 'rbd', not by ",
        none=None,
        a_number=5,
        bytes=b"file",
        a_list=["file"],
        an_object=object(),
        a_nul="file\0",
        a_surrogate="\ud800",
        a_newline="file\n",
    ),
    *table(
        exceptions.ConfigError,
        "there is no driver ",
        empty="",
        unknown="rdb",
        upper_case="FILE",
        a_trailing_space="file ",
    ),
]

CONFIGURATIONS = [
    *table(
        exceptions.ConfigError,
        "a configuration is an oslo.config ConfigOpts or the path of a file, not ",
        a_number=5,
        a_bool=True,
        bytes=b"rbdstore.conf",
        a_list=[],
        a_mapping={},
        an_object=object(),
        a_nul="rbdstore\0.conf",
        a_surrogate="rbdstore\ud800.conf",
        a_newline="rbdstore\n.conf",
    ),
    *table(
        exceptions.ConfigError,
        "name a file in the form that oslo.config reads",
        a_folder="/",
        a_file_that_is_not_there="/nowhere/rbdstore.conf",
        a_file_in_a_file="/dev/null/rbdstore.conf",
        a_path_that_is_too_long="/" + "x" * 300,
    ),
    *table(exceptions.ConfigError, "no backend is configured", an_empty_file="/dev/null"),
]

BACKENDS = table(
    exceptions.ConfigError,
    "[rbdstore] enabled_backends: there is no backend ",
    empty="",
    unknown="slow",
    upper_case="FAST",
    a_trailing_space="fast ",
    with_its_driver="fast:file",
    bytes=b"fast",
    a_number=5,
    a_bool=True,
    a_list=["fast"],
    a_mapping={"fast": "file"},
    a_surrogate="\ud800",
    an_object=object(),
)


def _options(option: str, says: str, **values: Any) -> list[Wrong]:
    """Mappings of one option, which the text begins with."""
    return [
        Wrong(f"{option}: {entry.id}", {option: entry.value}, entry.error, f"{option}: {says}")
        for entry in table(exceptions.ConfigError, "", **values)
    ]


_SECONDS = {
    "negative": -2,
    "not_whole": 2.5,
    "nan": math.nan,
    "infinity": math.inf,
    "text": "soon",
    "a_bool": True,
    "bytes": b"5",
    "a_list": [5],
    "longer_than_a_clock_goes": 10**12,
    "longer_than_a_float_goes": 10**400,
}
_TEXTS = {
    "bytes": b"images",
    "a_list": ["images"],
    "a_bool": True,
    "a_float": 1.5,
    "an_object": object(),
    "a_nul": "images\0",
    "a_newline": "images\n",
    "a_surrogate": "\ud800",
}
_CHOICES = {"unknown": "both", "empty": "", "bytes": b"task", "a_list": ["task"], "a_number": 7}

OPTIONS = [
    *_options("rbd_pol", "there is no such option; there are ", misspelt="images"),
    *_options("section", "there is no such option; there are ", of_the_library_itself="images"),
    *_options("rbd_pool", "", **_TEXTS),
    *_options("rbd_namespace", "", **_TEXTS),
    Wrong(
        "rbd_pool: by two of its names",
        {"rbd_pool": "images", "rbd_store_pool": "images"},
        exceptions.ConfigError,
        "rbd_pool: given twice",
    ),
    *_options("rbd_lease_seconds", "", zero=0, **_SECONDS),
    *_options(
        "rbd_store_chunk_size",
        "",
        zero=0,
        negative=-4,
        no_power_of_two=6,
        too_large=64,
        not_whole=2.5,
        a_bool=True,
        nan=math.nan,
        in_other_units="4M",
        bytes=b"4",
        a_list=[4],
        of_400_digits=10**400,
    ),
    *_options("rbd_max_clone_depth", "", text="deep", not_whole=2.5, a_bool=True, a_list=[]),
    *_options("rbd_concurrent_flatten_operations", "", none=0, negative=-1, not_whole=1.5),
    *_options("rbd_flatten_volume_from_snapshot", "", text="perhaps", a_number=7, a_list=[]),
    *_options("rbd_flatten_target", "", **_CHOICES),
    *_options("rbd_flatten_mode", "", **_CHOICES),
    *_options("enable_deferred_deletion", "", text="perhaps", a_number=7, a_list=[]),
    *_options("deferred_deletion_delay", "", **_SECONDS),
    *_options("deferred_deletion_purge_interval", "", zero=0, **_SECONDS),
]
"""Of every driver: what :func:`rbdstore.connect` is given beside ``rbd_pool``."""

FILE_OPTIONS = [
    *_options("file_store_datadir", "", empty="", **_TEXTS),
    *_options(
        "file_store_datadir",
        "",
        a_file="/dev/null",
        below_a_file="/dev/null/rbdstore",
        where_nobody_may_write="/proc/rbdstore",
        a_path_that_is_too_long="/" + "x" * 300,
    ),
    *_options(
        "file_store_pools",
        "",
        an_empty_name=[""],
        three_parts="a/b/c",
        a_number=5,
        a_surrogate=["\ud800"],
        a_newline=["a\nb"],
        a_nul="a\0b",
    ),
    *_options("file_store_features", "", unknown="fast", no_layering=["exclusive-lock"]),
    *_options("file_store_reserve", "", zero=0, negative=-1, not_whole=1.5, text="much"),
    *_options("file_store_timeout", "", zero=0, **_SECONDS),
]

RBD_OPTIONS = [
    *_options("rbd_user", "", **_TEXTS),
    *_options("rbd_cluster_name", "", **_TEXTS),
    *_options("rbd_ceph_conf", "", **_TEXTS),
    *_options("rbd_ceph_conf", "there is no ", not_there="/nowhere/ceph.conf"),
    *_options("rbd_data_pool", "", **_TEXTS),
    *_options("rados_connect_timeout", "", **_SECONDS),
    *_options("rados_connection_interval", "", **_SECONDS),
    *_options("rbd_operation_timeout", "", **_SECONDS),
    *_options("rados_connection_retries", "", zero=0, negative=-1, not_whole=1.5, text="often"),
    *_options("rbd_clone_format", "", unknown="3", a_bool=True, not_whole=2.5, empty=""),
    *_options(
        "rbd_features",
        "",
        unknown=["fast"],
        not_to_be_set=["layering", "data-pool"],
        no_layering=["exclusive-lock"],
        without_what_it_needs=["layering", "object-map"],
        a_number=7,
        a_surrogate=["\ud800"],
    ),
]
