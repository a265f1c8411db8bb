# SPDX-License-Identifier: Apache-2.0
"""Whatever is read from outside, as bytes: one row for each parser, for hypothesis and atheris."""
