# SPDX-License-Identifier: Apache-2.0
"""``python -m rbdstore.cli``, and what the script ``rbdstore`` calls."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command that the arguments name; return the exit status."""
    try:
        from rbdstore.cli import app
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] not in ("cliff", "rich"):
            raise
        sys.stderr.write(
            f"rbdstore: the command line needs {error.name}; install it with the extra cli: "
            "pip install 'rbdstore[cli]'\n"
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
