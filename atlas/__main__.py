"""`python -m atlas`: the command line."""

import sys

try:
    from atlas.cli import main
except KeyboardInterrupt:  # Ctrl-C before anything has begun
    sys.exit(130)

main()
