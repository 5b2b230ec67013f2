"""The command line's way in: `atlas`, `python -m atlas`."""

import sys


def main() -> None:
    """Run the command line, whose imports take a second: Ctrl-C in it ends quietly, nothing has begun."""
    try:
        from atlas.cli import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
