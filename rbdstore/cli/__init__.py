# SPDX-License-Identifier: Apache-2.0
"""The command ``rbdstore``: nouns and verbs over the services, one file a noun.

It needs the extra ``cli``. What is not about a noun: :mod:`~rbdstore.cli.app` (options, errors,
exit statuses), :mod:`~rbdstore.cli.interrupts` (Ctrl-C and SIGTERM), :mod:`~rbdstore.cli.shapes`
(sizes and names as text), :mod:`~rbdstore.cli.terminal` (progress and questions).
"""
