# SPDX-License-Identifier: Apache-2.0
"""The driver's entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbdstore import driver
from rbdstore.drivers.file import options as file_options
from rbdstore.drivers.file.cluster import FileCluster


class FileDriver(driver.Driver):
    """A cluster in a folder of this host."""

    OPTIONS = file_options.OPTIONS
    API_VERSION = 1

    def open(self, options: Mapping[str, Any]) -> FileCluster:
        """Return the cluster, making what is missing of its data directory."""
        return FileCluster(file_options.read(options))
