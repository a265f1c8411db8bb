# SPDX-License-Identifier: Apache-2.0
"""``complete``: cliff's, for a bash without the package bash-completion, too."""

from __future__ import annotations

import argparse
from typing import Final

from cliff import complete

# The one function that cliff's script needs of that package.
_WORDS: Final = """\
if ! declare -F _get_comp_words_by_ref >/dev/null; then
  _get_comp_words_by_ref()
  {
    words=("${COMP_WORDS[@]}")
    cur=${words[COMP_CWORD]}
    prev=${words[COMP_CWORD-1]}
  }
fi
"""


class Complete(complete.CompleteCommand):
    """Print what a shell needs to complete commands: source <(rbdstore complete)."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.shell == "bash":
            self.app.stdout.write(_WORDS)
        return super().take_action(parsed_args)
