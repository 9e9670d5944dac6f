"""Versions of packages, for headers, reports and bug reports."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed"]


def installed(*packages: str) -> dict[str, str]:
    """Return the version of each package, "not installed" for those that are not."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
