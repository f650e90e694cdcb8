"""The way to the command line, for `cdesk` and for `python -m cdesk`.

Invariant: by itself it imports the standard library alone, so that Ctrl-C and a package that is not
installed are met while all the rest is loaded.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    try:
        from cdesk.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"cdesk: the package {error.name} is not installed; install cdesk's wheel with its "
            "dependencies\n"
        )
        sys.exit(78)


if __name__ == "__main__":
    main()
