"""Where the data of a run is: beside its suites, where somebody can change it, else as it comes with the package."""

from __future__ import annotations

from pathlib import Path

from ocpp_resilience.robot.variables import robot_variable
from ocpp_resilience.shipped import shipped

FOLDER = "resources"


def data_file(name: str | Path) -> Path:
    """The file of this name.

    Args:
        name: a path, from the folder that the run is started in or from that of the suite; or the name of a file that
            comes with the package, such as `requirements.yaml`. A file of that name in a folder `resources` beside the
            suite, or beside one of the folders that it is in, is taken before it.

    Returns:
        The file; where there is none, the path that was looked for last.
    """
    path = Path(name).expanduser()
    if path.is_absolute() or path.exists():
        return path
    source = robot_variable("SUITE SOURCE")
    if source is not None:
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        for place in (folder / path, *(each / FOLDER / path for each in (folder, *folder.parents))):
            # A folder of that name is a mistake, which whoever reads the file reports.
            if place.exists():
                return place
    bundled = shipped(FOLDER) / path
    return bundled if bundled.exists() else path
