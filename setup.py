"""What `pyproject.toml` cannot say: in a wheel the server has a name of its own.

In the checkout the folder is `server/`, and `python -m server` runs it. As a package among others that name is too
common: a wheel has the same files as `ocpp_resilience_server`, and every import and command of it there says so.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

CHECKOUT, INSTALLED = "server", "ocpp_resilience_server"
NAMED = (
    (re.compile(rf"^(\s*(?:from|import) ){CHECKOUT}(?=[.\s])", re.MULTILINE), rf"\g<1>{INSTALLED}"),
    (re.compile(rf'(?<=")({CHECKOUT})(?=\.[a-z_.]+"\))'), INSTALLED),  # import_module("server.…")
    (re.compile(rf"(-m )({CHECKOUT})\b"), rf"\g<1>{INSTALLED}"),
    (re.compile(rf'("-m", ")({CHECKOUT})(?=")'), rf"\g<1>{INSTALLED}"),
)


class BuildPy(build_py):
    """Names the server in what was built; an installation of the checkout (`pip install -e`) stays as it is."""

    def run(self) -> None:
        """Build, then rename."""
        super().run()
        if self.editable_mode:
            return
        built = Path(self.build_lib)
        shutil.rmtree(built / INSTALLED, ignore_errors=True)
        (built / CHECKOUT).rename(built / INSTALLED)
        for path in sorted(built.rglob("*")):
            if path.suffix in {".py", ".yaml"}:
                text = path.read_text(encoding="utf-8")
                named = text
                for pattern, replacement in NAMED:
                    named = pattern.sub(replacement, named)
                if named != text:
                    path.write_text(named, encoding="utf-8")


class EggInfo(egg_info):
    """Names the server in `top_level.txt`, too."""

    def run(self) -> None:
        """Write the metadata, then rename."""
        super().run()
        names = Path(self.egg_info) / "top_level.txt"
        names.write_text(re.sub(rf"^{CHECKOUT}$", INSTALLED, names.read_text(encoding="utf-8"), flags=re.MULTILINE))


setup(cmdclass={"build_py": BuildPy, "egg_info": EggInfo})
