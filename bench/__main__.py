"""`python -m bench`: the same commands as `bench`."""

import sys

if __name__ == "__main__":
    try:
        from bench.cli import main
    except KeyboardInterrupt:  # Ctrl-C during the import
        sys.exit(130)
    main()
