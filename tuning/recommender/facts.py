"""What is known of the model, the data and the machine; all of it may be unknown."""

from __future__ import annotations

from dataclasses import dataclass

from tuning.config.ir import IR
from tuning.recommender.chat_rows import ChatRow, render_row
from tuning.recommender.data_facts import DataFacts, probe_data
from tuning.recommender.finished_runs import FinishedRun, load_history
from tuning.recommender.hardware_facts import HardwareFacts, probe_hardware
from tuning.recommender.kernel_facts import probe_kernels
from tuning.recommender.model_facts import ModelFacts, probe_model
from tuning.recommender.tokenizer_facts import TokenizerFacts, probe_tokenizer


@dataclass(frozen=True)
class Facts:
    """Everything that a recommendation may rest on, equal on every rank of a run.

    `kernels` names the installed packages that hold kernels, of `kernel_facts.KERNEL_PACKAGES`.
    """

    model: ModelFacts | None = None
    data: DataFacts | None = None
    hardware: HardwareFacts | None = None
    kernels: frozenset[str] | None = None
    tokenizer: TokenizerFacts | None = None
    chat: ChatRow | None = None
    history: tuple[FinishedRun, ...] = ()


def probe(ir: IR) -> Facts:
    """Find out what a document's model, data and machine are like.

    Raises:
        DataError: the data files cannot be read.
        ConfigError: a folder of history is none.
    """
    data, tokenizer = probe_data(ir), probe_tokenizer(ir)
    return Facts(
        model=probe_model(ir),
        data=data,
        hardware=probe_hardware(ir),
        kernels=probe_kernels(),
        tokenizer=tokenizer,
        chat=render_row(ir, tokenizer, data.example if data is not None else None),
        history=load_history(ir),
    )
