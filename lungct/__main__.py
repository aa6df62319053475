"""``python -m lungct`` is the console script."""

from lungct.cli.app import main

if __name__ == "__main__":
    main()
