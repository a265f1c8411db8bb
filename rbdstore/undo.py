# SPDX-License-Identifier: Apache-2.0
"""Taking back, in reverse, what an operation did before it failed."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Self

from rbdstore import exceptions


class Undo:
    """A stack of steps that runs only when the ``with`` block raises.

    Each step stands on the line after what it undoes. The steps run in reverse, all of them; what
    is already gone is no failure, and any other failure is attached to the first error as a note
    and never takes its place.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []

    def add(self, step: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Register ``step(*args, **kwargs)`` to run if the block fails."""
        self._steps.append((step, args, kwargs))

    def drop(self) -> None:
        """Forget all steps: what they undo has not been done."""
        self._steps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if error is None:
            return
        for step, args, kwargs in reversed(self._steps):
            try:
                step(*args, **kwargs)
            except exceptions.NotFound:
                pass
            except Exception as failure:
                name = getattr(step, "__qualname__", repr(step))
                error.add_note(f"could not take back {name}{args}: {failure}")
