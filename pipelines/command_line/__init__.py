"""The program `awe`: its commands and options, its help, and what it asks of this machine and of the user's files."""
