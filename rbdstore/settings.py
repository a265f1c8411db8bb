# SPDX-License-Identifier: Apache-2.0
"""A backend's settings, as plain values: what the services need to know of the configuration."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

TRANSFER_WINDOW: Final = 32 * 1024 * 1024
TRANSFER_THREADS: Final = 2
CONVERSION_ADDRESS_SPACE: Final = 4 * 1024 * 1024 * 1024
CONVERSION_CPU_SECONDS: Final = 600
CONVERSION_SECONDS: Final = 7200


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """One backend's settings. Sizes are bytes, times are seconds.

    :ivar chunk_size: the size of a new image's objects, a power of two; None: the service's own
    :ivar max_clone_depth: 0 or less makes every ``create_cloned_volume`` a full copy
    :ivar transfer_window: how much of an image that is read or written is in memory at once
    :ivar transfer_threads: how many threads hash an image that is written; 0: the caller's does
    :ivar clone_gather_time: how long clones of one volume are waited for to share a snapshot
    :ivar max_snapshots_on_image: beyond it the oldest clones are flattened in the background
    :ivar backup_max_snapshots: how many snapshots backups leave on a volume for later increments;
        0: one for each backup
    :ivar backup_trust_fast_diff: whether the object map is believed what has changed in a volume
    :ivar restore_discard_excess: whether what a volume has beyond a backup's end is discarded when
        that is restored to it
    :ivar conversion_dir: where images that are not raw are kept while they are converted; None:
        where temporary files go
    :ivar conversion_address_space: how much memory qemu-img may map
    :ivar conversion_cpu_seconds: how much processor time it may take
    :ivar conversion_seconds: how long it may take
    :ivar deferred_deletion_delay: how long a deleted volume stays in the trash at the least, where
        deletion is deferred
    :ivar deferred_deletion_purge_interval: how often the trash is looked through then
    :ivar lease_seconds: how long a name stays locked after its holder has died
    :ivar destroy_volume_retries: how often clients that have an instance's disks open are waited
        for, and
    :ivar destroy_volume_retry_interval: for how long each time
    :ivar backend: what it is called in logs and metrics
    :ivar metrics: whether its operations are counted
    """

    pool: str = "rbd"
    namespace: str = ""
    chunk_size: int | None = None
    max_clone_depth: int = 5
    flatten_volume_from_snapshot: bool = False
    flatten_target: Literal["source", "destination"] = "source"
    flatten_mode: Literal["inline", "task"] = "inline"
    concurrent_flatten_operations: int = 3
    clone_gather_time: float = 0.02
    max_snapshots_on_image: int = 450
    enable_deferred_deletion: bool = False
    deferred_deletion_delay: int = 0
    deferred_deletion_purge_interval: float = 60.0
    lease_seconds: float = 30.0
    destroy_volume_retries: int = 12
    destroy_volume_retry_interval: float = 5.0
    transfer_window: int = TRANSFER_WINDOW
    transfer_threads: int = TRANSFER_THREADS
    backup_max_snapshots: int = 0
    backup_trust_fast_diff: bool = True
    restore_discard_excess: bool = True
    conversion_dir: str | None = None
    conversion_address_space: int = CONVERSION_ADDRESS_SPACE
    conversion_cpu_seconds: int = CONVERSION_CPU_SECONDS
    conversion_seconds: float = CONVERSION_SECONDS
    backend: str = ""
    metrics: bool = False

    def object_order(self, default_chunk_size: int) -> int:
        """The base-2 logarithm of a new image's object size."""
        return (self.chunk_size or default_chunk_size).bit_length() - 1
