# SPDX-License-Identifier: Apache-2.0
"""What the scheduler is told of a backend."""

from __future__ import annotations

from typing import Any

from cinder import exception
from oslo_log import log
from oslo_utils import units

from rbdstore.adapters.cinder.base import in_gib
from rbdstore.adapters.cinder.migrating import Migrating
from rbdstore.volumes import VolumeStore

LOG = log.getLogger(__name__)


class Stats(Migrating):
    """A backend that cannot be reached is ``down``."""

    def _update_volume_stats(self) -> None:
        section = self.configuration
        stats: dict[str, Any] = {
            "volume_backend_name": section.safe_get("volume_backend_name") or "RBD",
            "vendor_name": "Open Source",
            "driver_version": self.VERSION,
            "storage_protocol": self.STORAGE_PROTOCOL,
            "total_capacity_gb": "unknown",
            "free_capacity_gb": "unknown",
            "reserved_percentage": section.safe_get("reserved_percentage"),
            "max_over_subscription_ratio": section.safe_get("max_over_subscription_ratio"),
            "thin_provisioning_support": True,
            "multiattach": True,
            "qos_support": True,
            "replication_enabled": False,
            "backend_state": "down",
        }
        try:
            stats["location_info"] = str(self._location())
            found = self._call(VolumeStore.stats)
        except exception.CinderException as error:
            LOG.error("[%s] is down: %s", section.config_group, error)
        else:
            total = found.total
            if section.report_dynamic_total_capacity:
                total = found.free + found.used
            stats["total_capacity_gb"] = round(total / units.Gi, 2)
            stats["free_capacity_gb"] = round(found.free / units.Gi, 2)
            if not section.rbd_exclusive_cinder_pool:
                stats["provisioned_capacity_gb"] = in_gib(found.provisioned)
            stats["backend_state"] = "up"
        self._stats = stats
