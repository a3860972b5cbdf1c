"""``python -m tyinglib check FILE...``: what a checkpoint stores more than once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tyinglib.diagnosis import check_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Check files from a shell.

    Parameters
    ----------
    arguments
        ``["check", file, ...]``; those of the shell by default.

    Returns
    -------
    int
        0 if nothing was found, 1 if something was, 2 if a file could not be read: what a shell expects.

    Examples
    --------
    >>> main(["check", "no-such.safetensors"])
    no-such.safetensors: there is no such file
    2

    Chapter: Two models, one set of weights.
    """
    parser = argparse.ArgumentParser(prog="python -m tyinglib", description=__doc__)
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="report weights that a checkpoint holds under several names, as copies")
    check.add_argument("files", nargs="+", metavar="FILE", help=".safetensors, or what torch.save wrote")
    code = 0
    for file in parser.parse_args(arguments).files:
        try:
            found = check_file(file)
        except (OSError, ValueError) as error:
            print(f"{file}: {'there is no such file' if isinstance(error, FileNotFoundError) else error}")
            code = 2
            continue
        print("\n".join(f"{file}: {one}" for one in found) or f"{file}: nothing is stored twice")
        code = max(code, int(bool(found)))
    return code


if __name__ == "__main__":
    sys.exit(main())
