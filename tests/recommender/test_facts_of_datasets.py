"""Several datasets, as the recommender and the record of a run see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import document
from starlette.testclient import TestClient

from tuning.config.ir import IR
from tuning.config.sections import Data
from tuning.fingerprints import data_fingerprint
from tuning.recommender.api import create_app
from tuning.recommender.data_facts import probe_data
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts
from tuning.recommender.schedule import train_rows

MASKING = {
    "name": "tokenize_and_apply_input_masking",
    "arguments": {"input_column_name": "i", "output_column_name": "o"},
}


def datasets(folder: Path) -> list[dict[str, Any]]:
    (folder / "a.jsonl").write_text('{"text": "The heron waits."}\n' * 100)
    (folder / "b.jsonl").write_text('{"i": "What waits?", "o": "The heron."}\n' * 600)
    (folder / "c.jsonl").write_text('{"text": "A lantern."}\n' * 40)
    return [
        {"data_paths": [str(folder / "a.jsonl")], "sampling": 0.5, "split": {"train": 0.8, "validation": 0.2}},
        {"data_paths": [str(folder / "b.jsonl")], "sampling": 0.5, "data_handlers": [MASKING]},
        {"data_paths": [str(folder / "c.jsonl")], "split": {"validation": 0.5}},
    ]


def mixture(folder: Path, **more: Any) -> IR:
    return document(data__datasets=datasets(folder), **more)


def test_the_rows_of_a_mixture_are_counted_and_measured(tmp_path: Path, tiny_config_only_model: Path) -> None:
    facts = probe_data(mixture(tmp_path, model__model_name_or_path=str(tiny_config_only_model)))
    assert facts is not None
    assert (facts.num_rows, facts.num_validation_rows) == (1200, 20 + 20)
    assert (facts.format, facts.num_sampled_rows) == ("text, prompt_completion", 700)
    assert facts.num_unusable_sampled_rows == 0
    assert len(facts.row_lengths) == 700


@pytest.mark.parametrize(("strategy", "count"), [("first_exhausted", 160), ("all_exhausted_without_replacement", 680)])
def test_the_strategy_says_how_many_rows_an_epoch_has(tmp_path: Path, strategy: str, count: int) -> None:
    facts = probe_data(mixture(tmp_path, data__sampling_stopping_strategy=strategy))
    assert facts is not None and facts.num_rows == count


def test_a_mixture_keeps_its_own_formats_and_its_own_held_out_rows(tmp_path: Path) -> None:
    ir = mixture(tmp_path)
    facts = Facts(data=probe_data(ir))
    completed, _ = recommend(ir, facts)
    assert completed.get("data.data_format") is None
    assert completed.get("data.validation_fraction") is None
    assert train_rows(completed, facts) == 1200


def test_the_record_of_a_run_names_the_files_of_every_dataset(tmp_path: Path) -> None:
    found = data_fingerprint(Data.model_validate({"datasets": datasets(tmp_path)}))
    assert [found["training"]["num_files"], found["training"]["rows"]] == [2, 700]
    assert found["validation"]["path"].endswith("c.jsonl")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"datasets": [{"data_paths": ["/etc"]}]}, "data.datasets"),
        ({"data_config_path": "data.yaml"}, "this server reads no files of configuration"),
    ],
)
def test_the_service_reads_datasets_only_where_it_may(tmp_path: Path, data: dict[str, Any], told: str) -> None:
    client = TestClient(create_app([tmp_path]), base_url="http://localhost")
    response = client.post("/recommend", json={"config": {"data": data, "model_name_or_path": "org/model"}})
    assert response.status_code == 422
    assert told in response.text


def test_the_service_answers_for_datasets_that_it_may_read(tmp_path: Path) -> None:
    client = TestClient(create_app([tmp_path]), base_url="http://localhost")
    request = {"config": {"data": {"datasets": datasets(tmp_path)}, "model_name_or_path": "org/model"}}
    response = client.post("/recommend", json=request)
    assert response.status_code == 200, response.text
    assert "1,200 rows" in json.dumps(response.json()["recommendations"])
