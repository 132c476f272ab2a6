"""What is known of the model, the data and the machine; all of it may be unknown."""

from __future__ import annotations

from dataclasses import dataclass

from tuning.config.ir import IR
from tuning.recommender.data_facts import DataFacts, probe_data
from tuning.recommender.hardware_facts import HardwareFacts, probe_hardware
from tuning.recommender.model_facts import ModelFacts, probe_model


@dataclass(frozen=True)
class Facts:
    """Everything that a recommendation may rest on, equal on every rank of a run."""

    model: ModelFacts | None = None
    data: DataFacts | None = None
    hardware: HardwareFacts | None = None


def probe(ir: IR) -> Facts:
    """Find out what a document's model, data and machine are like.

    Raises:
        DataError: the data files cannot be read.
    """
    return Facts(probe_model(ir), probe_data(ir), probe_hardware(ir))
