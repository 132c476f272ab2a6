from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.doctor.accumulation import accumulation_finding
from tuning.doctor.invariances import invariance_findings
from tuning.doctor.masks import mask_finding
from tuning.doctor.packing import packing_finding
from tuning.doctor.saving import saving_finding
from tuning.doctor.subject import Subject, subject_of

pytestmark = pytest.mark.slow

LEARNS_ALL = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}"
LEARNS_HALF = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content[:9] }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}\n{% endfor %}"
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    chats = (
        [
            {"role": "user", "content": f"Please count from one up to {number}."},
            {"role": "assistant", "content": "Counting: " + " ".join(map(str, range(1, number + 1)))},
        ]
        for number in range(1, 13)
    )
    file.write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
    return file


@pytest.fixture(scope="module")
def subject(tiny_config_only_model: Path, rows: Path) -> Subject:
    return subject_of(config(tiny_config_only_model, rows))


def config(model: Path, rows: Path, **settings: Any) -> TuningConfig:
    required = {"model_name_or_path": str(model), "training_data_path": str(rows), "output_dir": "out"}
    return build_config(load_mapping({**required, **settings}).ir)


def test_a_sound_model_and_template_keep_all_invariances(subject: Subject) -> None:
    found = {each.name: each for each in invariance_findings(subject)}
    assert list(found) == ["masks", "accumulation", "packing", "save and load"]
    assert {each.state for each in found.values()} == {"ok"}, found
    assert all(each.difference is not None and each.difference < 1e-5 for each in found.values())


@pytest.mark.parametrize("settings", [{"peft_method": "lora", "r": 4}, {"peft_method": "lora", "use_dora": True}])
def test_adapters_are_saved_and_loaded_whole(
    tiny_config_only_model: Path, rows: Path, settings: dict[str, Any]
) -> None:
    found = saving_finding(subject_of(config(tiny_config_only_model, rows, **settings)))
    assert (found.state, found.difference) == ("ok", 0.0)


def test_a_loss_that_is_averaged_over_passes_is_found(subject: Subject) -> None:
    from tuning.evaluation.scored_trainer import ScoredTrainer

    class AveragesPasses(ScoredTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch=None)

    found = accumulation_finding(subject, AveragesPasses)
    assert found.state == "fault"
    assert found.difference is not None and found.difference > 0.05


class IgnoresPositions:
    """A model that takes a packed sequence for one row."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, **inputs: Any) -> Any:
        return self.model(**{name: value for name, value in inputs.items() if name != "position_ids"})

    def eval(self) -> None:
        self.model.eval()


def test_rows_that_see_each_other_are_found(subject: Subject) -> None:
    leaky: Any = IgnoresPositions(subject.tiny_model())
    found = packing_finding(subject, leaky)
    assert (found.state, found.hint) == ("warning", "This run does not pack; leave it so.")
    assert found.difference is not None and found.difference > 0.01


def test_rows_that_see_each_other_are_a_fault_where_the_run_packs(tiny_config_only_model: Path, rows: Path) -> None:
    packing = subject_of(config(tiny_config_only_model, rows, packing=True))
    leaky: Any = IgnoresPositions(packing.tiny_model())
    assert packing_finding(packing, leaky).state == "fault"


def test_weights_that_lose_digits_when_saved_are_found(subject: Subject) -> None:
    import torch

    model: Any = subject.tiny_model()
    save = model.save_pretrained

    def rounded(folder: Any, **options: Any) -> None:
        state = {name: value.to(torch.bfloat16).to(value.dtype) for name, value in model.state_dict().items()}
        save(folder, state_dict=state, **options)

    model.save_pretrained = rounded
    found = saving_finding(subject, model)
    assert found.state == "fault" and found.difference is not None and found.difference > 1e-5


def test_a_tokenizer_whose_files_do_not_say_all_is_found(subject: Subject) -> None:
    class Lowers:
        """A tokenizer that lowers its texts in Python, which its files do not say."""

        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer = tokenizer

        def __len__(self) -> int:
            return len(self.tokenizer)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tokenizer, name)

        def __call__(self, text: str, **options: Any) -> Any:
            return self.tokenizer(text.lower(), **options)

    odd: Any = Lowers(subject.tokenizer)
    found = saving_finding(replace(subject, tokenizer=odd))
    assert found.state == "fault" and "12 texts have other tokens" in found.told


@pytest.mark.parametrize(
    ("template", "told"),
    [(LEARNS_ALL, "is learned, and is no answer"), (LEARNS_HALF, "is not learned")],
)
def test_a_template_whose_marks_are_wrong_is_found(
    tiny_config_only_model: Path, rows: Path, template: str, told: str
) -> None:
    found = mask_finding(subject_of(config(tiny_config_only_model, rows, chat_template=template)))
    assert (found.state, found.difference) == ("fault", 12)
    assert told in found.told and "rows.jsonl" in found.told


def test_prompts_and_completions_are_told_apart(tiny_config_only_model: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": f"What is {n} + {n}? ", "completion": f"That makes {2 * n}"} for n in range(20)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    subject = subject_of(config(tiny_config_only_model, tmp_path / "pairs.jsonl"))
    assert (mask_finding(subject).state, mask_finding(subject).difference) == ("ok", 0)
    everything = replace(subject.encoding, completion_only_loss=False)
    learned = replace(subject, encoding=everything)
    assert mask_finding(learned).state == "ok"  # that is what such a run asks for


def test_a_check_that_cannot_be_made_is_a_fault_and_the_others_are_made(subject: Subject, tmp_path: Path) -> None:
    gone = replace(subject, config=config(tmp_path, tmp_path / "rows.jsonl"))
    states = {found.name: found.state for found in invariance_findings(gone)}
    assert states == {"masks": "ok", "accumulation": "fault", "packing": "fault", "save and load": "fault"}
