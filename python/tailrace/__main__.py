"""`python -m tailrace` is the same as the `tailrace` command."""

from tailrace._cli.main import main

if __name__ == "__main__":
    main()
