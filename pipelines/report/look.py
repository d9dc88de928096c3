"""The colour and the dash that a method has in every chart: by its name and its iteration."""

from __future__ import annotations

from pipelines.config import METHODS_0, METHODS_T

_METHODS = (*METHODS_0, *METHODS_T)


def of_method(method: str, iteration: int) -> str:
    """Classes of the style sheet. Later iterations of a method share its colour."""
    return f"c{_METHODS.index(method)}{dash(iteration)}"


def of_iteration(iteration: int) -> str:
    """Classes of the style sheet for what is an iteration's alone."""
    return f"c{(8, 5, 1, 6)[iteration % 4]}{dash(iteration)}"


def dash(iteration: int) -> str:
    return f" dash{min(iteration - 1, 3)}" if iteration > 1 else ""


def title(method: str, iteration: int) -> str:
    """A method, with its iteration where there may be several."""
    return f"{method}, T\u00a0=\u00a0{iteration}" if iteration > 1 else method
