"""The section of a run's configuration that turns acceleration plugins on."""

from __future__ import annotations

from tuning.config.section import Section
from tuning.config.types import Flag, JsonObject, Text


class Acceleration(Section):
    """Plugins that make training faster or smaller."""

    plugins: JsonObject | None = None
    """Stanzas of plugins at their configuration paths: {training: {attention: {padding_free: {}}}}; a stanza that is
    false turns its plugin off. None: chosen by the recommender."""
    acceleration_framework_config_file: Text | None = None
    """YAML file with the key plugins, as fms-acceleration writes it; what `plugins` says counts more."""
    strict_plugins: Flag = False
    """Refuse a stanza whose plugin or package is not installed, instead of passing it over with a warning."""
    use_acceleration: Flag = True
    """false: no plugin acts, whatever else is said, and none is recommended."""
