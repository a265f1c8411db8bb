# SPDX-License-Identifier: Apache-2.0
"""What a volume's type asks for: limits, several hosts at once; and what it may not ask for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cinder import context as cinder_context
from cinder import exception
from cinder.volume import qos_specs
from oslo_log import log

import rbdstore
from rbdstore import upkeep
from rbdstore.adapters.cinder.base import Base
from rbdstore.undo import Undo
from rbdstore.volumes import VolumeStore

LOG = log.getLogger(__name__)

LIMITS: Final = {
    f"{cinders}_{unit}_sec{peak}": f"{of}{librarys}_{kind}"
    for cinders, of in (("total", ""), ("read", "read_"), ("write", "write_"))
    for unit, librarys in (("iops", "iops"), ("bytes", "bps"))
    for peak, kind in (("", "limit"), ("_max", "burst"))
}
"""Cinder's names for limits, and the library's."""

# As many bits as Cinder's own driver has for them, in what both write into Cinder's database.
_BITS: Final = {"exclusive-lock": 4, "object-map": 8, "fast-diff": 16, "journaling": 64}

_YES: Final = "<is> True"


class VolumeTypes(Base):
    """Making a volume what its type says."""

    def retype(
        self, context: Any, volume: Any, new_type: Any, diff: Any, host: Any
    ) -> tuple[bool, dict[str, Any]]:
        _check(new_type)
        had, wants = _is_multiattach(volume.volume_type), _is_multiattach(new_type)
        self._limit(volume, new_type)
        if had == wants:
            return True, {}
        if wants:
            return True, self._share(volume)
        saved = json.loads(volume.provider_location or "{}").get("saved_features", 0)
        features = {name for name, bit in _BITS.items() if saved & bit}
        self._call(VolumeStore.switch_features, volume.name, features, enabled=True)
        return True, {"provider_location": None}

    def _check_type(self, volume: Any) -> None:
        """Refuse what is not built, before anything is made."""
        _check(volume.volume_type)

    def _apply_type(self, volume: Any, store: rbdstore.Store | None = None) -> dict[str, Any]:
        """Make a volume what its type says, and return what Cinder is to keep of it.

        :param store: where it is; None: in this backend
        """
        self._limit(volume, volume.volume_type, store)
        if not _is_multiattach(volume.volume_type):
            return {}
        return self._share(volume, store)

    def _limit(self, volume: Any, volume_type: Any, store: rbdstore.Store | None = None) -> None:
        # A clone begins with those of what it was cloned from.
        limits = _limits(volume_type)
        store = store or self._store
        self._ask(lambda: store.volumes.set_limits(volume.name, limits))

    def _share(self, volume: Any, store: rbdstore.Store | None = None) -> dict[str, Any]:
        """Let several hosts write, none of which waits for another's lock."""
        store = store or self._store
        had = self._ask(
            lambda: store.volumes.switch_features(volume.name, upkeep.SWITCHABLE, enabled=False)
        )
        saved = sum(bit for name, bit in _BITS.items() if name in had)
        return {"provider_location": json.dumps({"saved_features": saved}, separators=(",", ":"))}

    @contextlib.contextmanager
    def _deleted_on_error(self, volume: Any) -> Iterator[None]:
        """Delete a new volume that cannot be finished: Cinder may make it in another backend."""

        def delete() -> None:
            self._call_for(volume, VolumeStore.delete, volume.name)

        with Undo() as undo:
            undo.add(delete)
            yield


def _check(volume_type: Any) -> None:
    if _extra_specs(volume_type).get("replication_enabled") == _YES:
        raise exception.NotSupportedOperation(
            "rbdstore does not replicate volumes; choose a type without replication_enabled"
        )


def _is_multiattach(volume_type: Any) -> bool:
    return _extra_specs(volume_type).get("multiattach") == _YES


def _extra_specs(volume_type: Any) -> Mapping[str, str]:
    return (volume_type and volume_type.get("extra_specs")) or {}


def _limits(volume_type: Any) -> dict[str, int]:
    """What the cluster's side is to limit."""
    number = volume_type and volume_type.get("qos_specs_id")
    if not number:
        return {}
    found = qos_specs.get_qos_specs(cinder_context.get_admin_context(), number)
    if found["consumer"] not in ("back-end", "both"):
        return {}
    if unknown := sorted(found["specs"].keys() - LIMITS):
        LOG.warning("QoS specs %s: no limits of this backend: %s", number, ", ".join(unknown))
    return {
        LIMITS[key]: _number(number, key, value)
        for key, value in found["specs"].items()
        if key in LIMITS
    }


def _number(specs: str, key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise exception.InvalidInput(
            f"QoS specs {specs}: {key} is a whole number, not {value!r}"
        ) from error
