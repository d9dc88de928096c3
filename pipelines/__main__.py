"""`python -m pipelines` is the program `awe`. It only dispatches: nothing that a worker unpickles may live here."""

from pipelines import log


def main() -> None:
    """Set up the log before Beam is imported, which warns of clouds that are not installed, and run the command."""
    log.configure()
    from pipelines import cli

    cli.main()


if __name__ == "__main__":
    main()
