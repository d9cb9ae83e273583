"""The files that come with the package: requirements, profiles, cases, suites, their resources, and templates.

In the checkout `resources` and `suites` are links to the folders of these names; a wheel has the files themselves.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped(*parts: str) -> Path:
    """The path of a shipped file or folder, such as `shipped("resources", "requirements.yaml")`."""
    return Path(str(files(__name__).joinpath(*parts))).resolve()
