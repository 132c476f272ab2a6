from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tuning.recommender.actions import ACTIONS, load_actions
from tuning.recommender.engine import recommend


def test_the_examples_of_the_page_run(
    project_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (project_root / "docs" / "recommender.md").read_text(encoding="utf-8")
    monkeypatch.chdir(project_root)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert "LoraAlpha {'peft': {'lora_alpha': 32}}" in capsys.readouterr().out
    final, _ = recommend(
        names["IR"]().merge({"data": {"training_data_path": ["examples/quickstart/validation.jsonl"]}}, "a test"),
        actions=[*load_actions(), names["NeftuneNoise"]()],
    )
    assert final.get("training.neftune_noise_alpha") == 5.0


def test_the_page_names_every_field_that_an_action_writes(project_root: Path) -> None:
    from made_up_facts import LARGE, SMALL, decided

    text = (project_root / "docs" / "recommender.md").read_text(encoding="utf-8")
    for facts in (SMALL, LARGE):
        for made in recommend(decided(peft__peft_method="lora").merge({"peft": {"r": 8}}, "a test"), facts)[1]:
            for section in made.patch.values():
                assert all(f"`{name}`" in text for name in section), made.action
    assert len(ACTIONS.names()) > 20
