"""The target profile: the one description of a system under test as seen from outside.

A profile is a YAML file. Bundled profiles (`resources/targets/*.yaml`) are named by their stem, others by their path:

    target = Target.load("reference")
    target.key("responses", charge_point_id="CP-001")     # ocpp:responses:CP-001

`sections` and `kept` have the fields, `reading` parses a file, `rules` has the checks beyond types, `profile` is the
interface for keywords, `schema` makes the JSON Schema, and `check` tries a profile against its system:

    python -m ocpp_resilience.check check my-system.yaml
"""

from ocpp_resilience.profile.kept import KEY_PLACEHOLDERS, STATE_FIELDS, Keys, StateRecord, Variables
from ocpp_resilience.profile.reading import PROFILES, bundled_targets
from ocpp_resilience.profile.run_target import PROTOCOL, target_of_run, version_of_run
from ocpp_resilience.profile.sections import (
    ANNOUNCEMENT_PLACEHOLDERS,
    START_PLACEHOLDERS,
    Capability,
    CommandRequest,
    MessageFormat,
    Oracle,
    SettingValue,
    Stream,
    Trait,
)
from ocpp_resilience.profile.target import Target
from ocpp_resilience.profile.templates import fill_template

__all__ = [
    "ANNOUNCEMENT_PLACEHOLDERS",
    "KEY_PLACEHOLDERS",
    "PROFILES",
    "PROTOCOL",
    "START_PLACEHOLDERS",
    "STATE_FIELDS",
    "Capability",
    "CommandRequest",
    "Keys",
    "MessageFormat",
    "Oracle",
    "SettingValue",
    "StateRecord",
    "Stream",
    "Target",
    "Trait",
    "Variables",
    "bundled_targets",
    "fill_template",
    "target_of_run",
    "version_of_run",
]
