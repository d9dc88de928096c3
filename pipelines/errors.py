"""What ends a command with one line, and its exit status."""

from __future__ import annotations

import re

from schemas.errors import DataError, StoreError

__all__ = ["ConfigError", "DataError", "JobError", "StoreError", "TemplateWritten", "unwrap"]

_RAISED = re.compile(
    r"(?P<kind>DataError|StoreError|FloatingPointError): (?P<line>.+?)(?: \[while running .*)?$", re.MULTILINE
)


class ConfigError(Exception):
    """Configuration or command line is wrong; found before any work (exit status 2)."""


class JobError(Exception):
    """A Beam job failed for a reason that is not in the data (exit status 1)."""


class TemplateWritten(Exception):
    """The job was not run: Dataflow's template of it was written, as --template_location asks (exit status 0)."""


def unwrap(error: BaseException) -> Exception:
    """The one line of a worker's error, taken out of the runner's traceback.

    A worker's exception reaches the launching process as text. The last of our own errors in it is the cause; where
    there is none, the last line of the text is all that there is to say.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DataError):
            return type(cause)(_first_line(str(cause)))
        cause = cause.__cause__ or cause.__context__
    found = list(_RAISED.finditer(str(error).replace("\\n", "\n")))
    if found:
        raised = StoreError if found[-1]["kind"] == "StoreError" else DataError
        return raised(found[-1]["line"].strip().rstrip("'\""))
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return JobError(f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}")


def _first_line(text: str) -> str:
    return re.sub(r" \[while running .*", "", text.splitlines()[0] if text else "")
