# SPDX-License-Identifier: Apache-2.0
"""A driver for rbdstore that keeps everything in the memory of one process.

``driver`` and ``cluster`` are what rbdstore calls first, ``pool`` and ``image`` the rest of the
interface; ``data`` is the bytes of an image, ``state`` everything else there is.
"""
