"""`python -m router` is the same as `router`."""

from router.cli import main

if __name__ == "__main__":
    main()
