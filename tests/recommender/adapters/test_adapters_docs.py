from __future__ import annotations

import re

import pytest
from tables import PAGE, block, tables

from tuning.recommender.adapters import ADAPTERS

TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tables())
def test_the_page_holds_the_tables_as_they_are(name: str) -> None:
    told = "run tests/recommender/adapters/tables.py to write them anew"
    assert block(name, tables()[name]) in TEXT, told


def test_the_page_names_every_adapter() -> None:
    named = set(re.findall(r"^\| `(\w+)` \| [^|`]*(?:`[^`]*`)?[^|]* \| `\w+\.(?:yaml|json)`", TEXT, re.MULTILINE))
    assert named == {"native", "fms", "accelerate", "trl", "llamafactory", "axolotl", "torchtune"} & set(
        ADAPTERS.names()
    )


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    exec(example[1], {})
    assert "trl sft --config trl_sft.yaml" in capsys.readouterr().out
