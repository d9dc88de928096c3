"""`python -m pipelines` is the program `awe`. It only dispatches: nothing that a worker unpickles may live here."""

from pipelines.command_line.cli import main

if __name__ == "__main__":
    main()
