# SPDX-License-Identifier: Apache-2.0
"""What a store promises, as plain values: no drafts, leases, trash, or clean-up after anything.

The verbs are those of the services and raise what theirs are documented to raise. Data are bytes.
What was cloned from is a :class:`Moment`; it stays for as long as somebody shares data with it,
and that is all there is to say of deleting: whatever is not needed any more is gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rbdstore import exceptions


@dataclasses.dataclass(eq=False)
class Moment:
    """Bytes that were cloned from: an image, or a volume as it was.

    :ivar owner: whose they are
    :ivar parent: what those were cloned from themselves
    """

    owner: Image | Volume
    data: bytes
    parent: Moment | None = None


@dataclasses.dataclass(eq=False)
class Image:
    """
    :ivar moment: its bytes, all there is
    """

    name: str
    moment: Moment = dataclasses.field(init=False)
    parent: None = None

    def moments(self) -> list[Moment]:
        return [self.moment]


@dataclasses.dataclass(eq=False)
class Volume:
    """
    :ivar hidden: what was cloned from it, beside the user's snapshots
    """

    name: str
    data: bytes
    parent: Moment | None = None
    snapshots: dict[str, Moment] = dataclasses.field(default_factory=dict)
    hidden: list[Moment] = dataclasses.field(default_factory=list)
    attached: bool = False

    def now(self) -> Moment:
        return Moment(self, self.data, self.parent)

    def moments(self) -> list[Moment]:
        return [*self.snapshots.values(), *self.hidden]

    def resize(self, size: int) -> None:
        self.data = self.data[:size] + bytes(size - len(self.data))


@dataclasses.dataclass(frozen=True)
class Seen:
    """A volume, as a user sees it.

    :ivar parent: the image or volume it was cloned from; empty: that is deleted; None: no clone
    """

    data: bytes
    parent: str | None
    depth: int
    snapshots: dict[str, bytes]


@dataclasses.dataclass(frozen=True)
class Options:
    """A backend's options that change what there is afterwards."""

    max_clone_depth: int = 5
    flatten_target: str = "source"
    flatten_volume_from_snapshot: bool = False


class Model:
    """Images and volumes.

    :param deep_flatten: flattening frees a volume's snapshots too
    """

    def __init__(self, *, deep_flatten: bool = True) -> None:
        self.images: dict[str, Image] = {}
        self.volumes: dict[str, Volume] = {}
        self.options = Options()
        self._deep_flatten = deep_flatten

    # Looking

    def see_image(self, name: str) -> bytes:
        return self._image(name).moment.data

    def see(self, name: str) -> Seen:
        volume = self._volume(name)
        snapshots = {name: moment.data for name, moment in volume.snapshots.items()}
        return Seen(volume.data, self._parent_name(volume), _depth(volume.parent), snapshots)

    def _parent_name(self, volume: Volume) -> str | None:
        if volume.parent is None:
            return None
        owner = volume.parent.owner
        return owner.name if self._is_live(owner) else ""

    def _is_live(self, owner: Image | Volume) -> bool:
        return owner in (self.images.get(owner.name), self.volumes.get(owner.name))

    # Images

    def add_image(self, name: str, data: bytes, size: int | None) -> None:
        if name in self.images:
            raise exceptions.Duplicate(name)
        if size not in (None, len(data)):
            raise exceptions.InvalidBody(name)
        self.images[name] = image = Image(name)
        image.moment = Moment(image, data)

    def delete_image(self, name: str, in_use: str) -> None:
        moment = self._image(name).moment
        if in_use == "flatten":
            for child in self._sharers(moment):
                self._let_go(child)
        # With "flatten", by earlier snapshots that flattening does not free.
        if self._sharers(moment) and in_use != "defer":
            raise exceptions.InUse(name)
        del self.images[name]

    # Volumes

    def create(self, name: str, size: int) -> None:
        self._check_free(name)
        self.volumes[name] = Volume(name, bytes(size))

    def extend(self, name: str, size: int) -> None:
        volume = self._volume(name)
        if size < len(volume.data):
            raise exceptions.InvalidSize(name)
        volume.resize(size)

    def rename(self, name: str, new_name: str) -> None:
        volume = self._volume(name)
        self._check_free(new_name)
        volume.name = new_name
        self.volumes[new_name] = self.volumes.pop(name)

    def delete(self, name: str) -> None:
        volume = self.volumes.get(name)
        if volume is None:
            return
        if volume.snapshots or volume.attached:
            raise exceptions.InUse(name)
        del self.volumes[name]

    def flatten(self, name: str) -> None:
        self._let_go(self._volume(name))

    def write(self, name: str, offset: int, data: bytes) -> None:
        volume = self._volume(name)
        volume.data = volume.data[:offset] + data + volume.data[offset + len(data) :]

    def discard(self, name: str, offset: int, length: int) -> None:
        self.write(name, offset, bytes(length))

    def attach(self, name: str) -> None:
        self._volume(name).attached = True

    def detach(self, name: str) -> None:
        self._volume(name).attached = False

    def reopen(self, options: Options) -> None:
        self.options = options
        for volume in self.volumes.values():
            volume.attached = False

    # Snapshots

    def create_snapshot(self, volume: str, snapshot: str) -> None:
        found = self._volume(volume)
        if snapshot in found.snapshots:
            raise exceptions.Duplicate(snapshot)
        found.snapshots[snapshot] = found.now()

    def delete_snapshot(self, volume: str, snapshot: str) -> None:
        found = self.volumes.get(volume)
        if found is not None and snapshot in found.snapshots:
            found.hidden.append(found.snapshots.pop(snapshot))

    def revert(self, volume: str, snapshot: str) -> None:
        found = self._volume(volume)
        moment = self._snapshot(found, snapshot)
        if found.attached:
            raise exceptions.InUse(volume)
        found.data = moment.data

    # Volumes from other things

    def clone(self, name: str, image: str, size: int | None) -> None:
        moment = self._image(image).moment
        self._check_fits(moment, size)
        self._check_free(name)
        self._add_clone(name, moment, size)

    def create_from_snapshot(
        self, name: str, volume: str, snapshot: str, size: int | None
    ) -> None:
        moment = self._snapshot(self._volume(volume), snapshot)
        self._check_fits(moment, size)
        self._check_free(name)
        self._add_clone(name, moment, size)
        if self.options.flatten_volume_from_snapshot:
            self.flatten(name)

    def create_cloned_volumes(self, names: list[str], source: str, size: int | None) -> None:
        if len(set(names)) != len(names):
            raise exceptions.InvalidName(str(names))
        found = self._volume(source)
        self._check_fits(found.now(), size)
        for name in names:
            self._check_free(name)
        limit = self.options.max_clone_depth
        too_deep = limit <= 0 or _depth(found.parent) >= limit
        if too_deep and limit > 0 and self.options.flatten_target == "source":
            self._let_go(found)
            too_deep = False
        moment = found.now()
        found.hidden.append(moment)
        for name in names:
            self._add_clone(name, moment, size)
            if too_deep:
                self.flatten(name)

    # Inside

    def _image(self, name: str) -> Image:
        if name not in self.images:
            raise exceptions.ImageNotFound(name)
        return self.images[name]

    def _volume(self, name: str) -> Volume:
        if name not in self.volumes:
            raise exceptions.ImageNotFound(name)
        return self.volumes[name]

    def _snapshot(self, volume: Volume, name: str) -> Moment:
        if name not in volume.snapshots:
            raise exceptions.SnapshotNotFound(name)
        return volume.snapshots[name]

    def _check_free(self, name: str) -> None:
        if name in self.volumes:
            raise exceptions.Duplicate(name)

    def _check_fits(self, moment: Moment, size: int | None) -> None:
        if size is not None and size < len(moment.data):
            raise exceptions.InvalidSize(str(size))

    def _add_clone(self, name: str, moment: Moment, size: int | None) -> None:
        # Of nothing there is nothing to share.
        volume = Volume(name, moment.data, moment if moment.data else None)
        if size is not None:
            volume.resize(size)
        self.volumes[name] = volume

    def _let_go(self, volume: Volume) -> None:
        volume.parent = None
        if self._deep_flatten:
            for moment in volume.moments():
                moment.parent = None

    def _sharers(self, moment: Moment) -> list[Volume]:
        """The volumes that share data with a moment, themselves or by a moment of theirs."""
        return [volume for volume, parents in self._there().items() if moment in parents]

    def _there(self) -> dict[Volume, list[Moment]]:
        """Every volume that is there, deleted but needed ones too, with what each needs."""
        found: dict[Volume, list[Moment]] = {}
        needed: set[Moment] = set()

        def need(volume: Volume, moment: Moment | None) -> None:
            if moment is None:
                return
            found[volume].append(moment)
            if moment not in needed:
                needed.add(moment)
                if isinstance(moment.owner, Volume):
                    add(moment.owner)
                    need(moment.owner, moment.parent)

        def add(volume: Volume) -> None:
            if volume not in found:
                found[volume] = []
                need(volume, volume.parent)
                for moment in volume.snapshots.values():
                    need(volume, moment.parent)

        for volume in self.volumes.values():
            add(volume)
        return found


def _depth(moment: Moment | None) -> int:
    return 0 if moment is None else 1 + _depth(moment.parent)


def names_in(*arguments: object) -> Iterator[str]:
    """The names among an operation's arguments."""
    for argument in arguments:
        if isinstance(argument, str):
            yield argument
        elif isinstance(argument, list):
            yield from argument
