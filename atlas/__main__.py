"""`atlas` and `python -m atlas`: the command line."""

import sys


def main() -> None:
    """Run the command in `sys.argv`."""
    try:
        from atlas.cli import main as run
    except KeyboardInterrupt:  # the libraries alone take a second
        sys.stderr.write("error: Stopped before anything was done.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
