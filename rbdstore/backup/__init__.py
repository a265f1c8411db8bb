# SPDX-License-Identifier: Apache-2.0
"""The parts of :mod:`rbdstore.backups`: how backups are made, kept, read back, and go."""
