from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import jsonpatch
import pytest
from api_server import PROJECT, served
from fastapi.testclient import TestClient

from tuning import __version__
from tuning.config.building import build_config, with_checked_values
from tuning.config.loading import load_mapping
from tuning.data.sources import files_of
from tuning.errors import UserError
from tuning.recommender import api
from tuning.recommender.actions import load_actions
from tuning.recommender.allowed_roots import AllowedRoots
from tuning.recommender.api import create_app
from tuning.recommender.api_cache import Cache
from tuning.recommender.bounded_walk import Walk
from tuning.recommender.engine import recommend


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_config_only_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("root")
    shutil.copytree(tiny_config_only_model, folder / "model")
    rows = [{"text": f"Two kettles and {number} herons wait beside the river."} for number in range(600)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "notes.txt").write_text("nothing to train on")
    return folder


@pytest.fixture(scope="module")
def client(root: Path) -> TestClient:
    return TestClient(create_app([root]), base_url="http://localhost")


def config(root: Path, **more: Any) -> dict[str, Any]:
    paths = {"model_name_or_path": str(root / "model"), "training_data_path": str(root / "rows.jsonl")}
    return {**paths, "output_dir": "run", **more}


def asked(client: TestClient, **request: Any) -> dict[str, Any]:
    response = client.post("/recommend", json=request)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_answer_is_what_the_library_recommends(client: TestClient, root: Path) -> None:
    document = config(root, learning_rate="1e-3", peft_method="lora")
    answer = asked(client, config=document)
    loaded = load_mapping(document)
    ir, recommendations = recommend(with_checked_values(loaded.ir, build_config(loaded.ir)))
    assert answer["config"] == json.loads(json.dumps(ir.values))
    assert answer["recommendations"] == json.loads(json.dumps([made.to_dict() for made in recommendations]))


def test_the_patch_turns_the_given_document_into_the_completed_one(client: TestClient, root: Path) -> None:
    answer = asked(client, config=config(root))
    paths = {
        "model": {"model_name_or_path": str(root / "model")},
        "data": {"training_data_path": [str(root / "rows.jsonl")]},
    }
    given = {**paths, "training": {"output_dir": "run"}}
    assert jsonpatch.apply_patch(given, answer["json_patch"]) == answer["config"]


def test_values_of_the_user_stay_and_the_advice_is_told(client: TestClient, root: Path) -> None:
    answer = asked(
        client, config={"training": {"learning_rate": 0.5}, "model": {"model_name_or_path": str(root / "model")}}
    )
    assert answer["config"]["training"]["learning_rate"] == 0.5
    advice = [each["advice"] for made in answer["recommendations"] for each in made["declined"]]
    assert any(text.startswith("training.learning_rate: user 0.5, suggested") for text in advice)


def test_a_model_alone_is_enough(client: TestClient, root: Path) -> None:
    answer = asked(client, config={"model_name_or_path": str(root / "model")})
    assert "training_data_path" not in answer["config"].get("data", {})
    assert answer["memory"]["fits"] is True


def test_the_parts_of_the_memory_add_up(client: TestClient, root: Path) -> None:
    compute = {"num_gpus_per_node": 1, "gpu_memory_gib": 80, "gpu_compute_capability": "9.0"}
    memory = asked(client, config={**config(root), "compute": compute})["memory"]
    assert sum(memory["parts"].values()) == memory["total"] <= memory["budget"]
    assert 70 * 2**30 < memory["budget"] < 80 * 2**30


LEFT_OUT = {"additional_data_handlers": "handlers.py"}


def test_the_four_documents_of_fms_hf_tuning_are_one_run(client: TestClient, root: Path) -> None:
    answer = asked(
        client,
        tuning_config={"model_name_or_path": str(root / "model"), "tuning_strategy": "lora", **LEFT_OUT},
        tuning_data_config={
            "dataprocessor": {"type": "default"},
            "datasets": [{"name": "a", "data_paths": [str(root / "rows.jsonl")]}],
        },
        compute_config={"num_nodes": 1, "num_gpus_per_node": 8},
        accelerate_config={"mixed_precision": "bf16"},
    )
    assert answer["config"]["peft"]["peft_method"] == "lora"
    assert answer["config"]["data"]["training_data_path"] == [str(root / "rows.jsonl")]
    assert "--num_processes 8" in answer["launch_command"]
    assert any(text.startswith("additional_data_handlers") for text in answer["unmapped"])


def test_a_fault_in_one_of_four_documents_is_found_there(client: TestClient, root: Path) -> None:
    request = {"tuning_config": {"model_name_or_path": str(root / "model"), "learning_rate": "fast"}}
    response = client.post("/recommend", json=request)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "tuning_config", "learning_rate"]


def test_every_fault_has_its_place_in_the_request(client: TestClient, root: Path) -> None:
    document = {
        "model": {"model_name_or_path": str(root / "model")},
        "peft": {"r": 0},
        "lerning_rate": 1,
        "max_steps": -7,
    }
    response = client.post("/recommend", json={"config": document})
    assert response.status_code == 422
    places = {tuple(fault["loc"]): fault["msg"] for fault in response.json()["detail"]}
    assert set(places) == {
        ("body", "config", "peft", "r"),
        ("body", "config", "lerning_rate"),
        ("body", "config", "max_steps"),
    }
    assert "learning_rate" in places["body", "config", "lerning_rate"]


def test_a_hub_id_is_not_looked_up_and_the_answer_says_so(client: TestClient) -> None:
    answer = asked(client, config={"model_name_or_path": "someone/some-model", "training_data_path": "someone/rows"})
    assert [notice.split(":")[0] for notice in answer["notices"]] == [
        "model.model_name_or_path",
        "data.training_data_path",
    ]
    assert answer["memory"]["parts"] is None


def test_what_was_found_out_is_kept_until_a_file_changes(client: TestClient, tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "model", tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "One heron."}) + "\n")
    app = TestClient(create_app([tmp_path]), base_url="http://localhost")
    first = asked(app, config=config(tmp_path))
    rows.write_text((json.dumps({"text": "One heron, and many more than one."}) + "\n") * 40)
    assert asked(app, config=config(tmp_path)) != first


def test_the_rules_are_listed_in_their_order_with_what_they_do(client: TestClient) -> None:
    rules = client.get("/rules").json()
    assert [rule["name"] for rule in rules] == [action.name for action in load_actions()]
    assert [rule["order"] for rule in rules] == list(range(1, len(rules) + 1))
    assert all(rule["description"] for rule in rules)


def test_health_tells_the_version_and_the_names_of_the_folders_alone(client: TestClient, root: Path) -> None:
    assert client.get("/health").json() == {"status": "ok", "version": __version__, "roots": [root.name]}


def test_the_schema_describes_every_section(client: TestClient) -> None:
    schema = client.get("/schema").json()
    assert {"model", "data", "training", "learning_rate"} <= schema["properties"].keys()


def test_files_lists_what_can_be_chosen_and_nothing_else(client: TestClient, root: Path) -> None:
    assert [entry["name"] for entry in client.get("/files").json()["entries"]] == [root.name]
    listed = client.get("/files", params={"path": str(root)}).json()
    assert [(entry["name"], entry["kind"]) for entry in listed["entries"]] == [
        ("model", "model"),
        ("rows.jsonl", "data"),
    ]
    assert listed["parent"] == ""


def test_no_page_and_no_answer_names_another_host(client: TestClient) -> None:
    for path in ("/", "/docs", "/recommender.js", "/docs.js", "/page.css", "/favicon.ico", "/health"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "https://" not in response.text
        assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "")


def test_the_description_of_the_api_names_every_route(client: TestClient) -> None:
    assert set(client.get("/openapi.json").json()["paths"]) == {"/recommend", "/rules", "/schema", "/health", "/files"}


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        create_app([tmp_path / "missing"])


def test_only_hosts_that_are_known_are_answered(root: Path) -> None:
    client = TestClient(create_app([root], hosts=["trainer.example"]))
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "Trainer.example"):
        assert client.get("/health", headers={"host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil", "localhost:8000.evil", "[", ""):
        assert client.get("/health", headers={"host": host}).status_code == 400
    assert client.get("/health").json()["detail"][0]["loc"] == ["header", "host"]


def test_hosts_are_added_by_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNING_RECOMMENDER_ROOTS", str(root))
    monkeypatch.setenv("TUNING_RECOMMENDER_HOSTS", "a.example, testserver")
    assert TestClient(api.app).get("/health").status_code == 200


def test_a_file_given_twice_counts_twice(client: TestClient, root: Path) -> None:
    rows = str(root / "rows.jsonl")
    answer = asked(client, config={**config(root), "training_data_path": [rows, rows]})
    ir, _ = recommend(load_mapping({**config(root), "training_data_path": [rows, rows]}).ir)
    assert answer["config"]["training"] == json.loads(json.dumps(ir.values["training"]))


def test_a_pattern_stands_for_the_files_that_the_trainer_reads(tmp_path: Path) -> None:
    for name in ("a/x.jsonl", "b/c/x.jsonl", "b/.hidden/x.jsonl", ".d/x.jsonl", "x.jsonl", "x.txt", "b/state.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "e").symlink_to(tmp_path / "b")
    roots = AllowedRoots([tmp_path])
    for pattern in ("*/x.jsonl", "*/*/x.jsonl", "b/**/*.jsonl", "b/**", "[ax]*", "?/c/x.jsonl", "b/.h*/x*", "*", ""):
        found = roots.data_files(str(tmp_path / pattern), Walk())
        assert found == [file.resolve() for file in files_of([str(tmp_path / pattern)]) or []]


def test_many_who_ask_the_same_wait_for_one_answer() -> None:
    cache, asked_once, release = Cache[int](8, 8), [], threading.Event()

    def find() -> int:
        release.wait(10)
        asked_once.append(1)
        return 7

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("key", find))) for _ in range(8)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert (found, asked_once) == ([7] * 8, [1])


def test_a_cache_forgets_failures_and_what_was_asked_longest_ago() -> None:
    cache = Cache[int](2, 1)
    with pytest.raises(ZeroDivisionError):
        cache.get("broken", lambda: 1 // 0)
    assert [cache.get(key, lambda key=key: key) for key in (1, 2, 3)] == [1, 2, 3]
    assert (len(cache), cache.get(1, lambda: 9), cache.get(3, lambda: 9)) == (2, 9, 3)


def test_neither_torch_nor_a_hub_client_is_imported_to_answer(root: Path) -> None:
    code = (
        "import sys, json\nfrom fastapi.testclient import TestClient\nfrom tuning.recommender.api import create_app\n"
        f"client = TestClient(create_app([{str(root)!r}]), base_url='http://localhost')\n"
        f"assert client.post('/recommend', json={{'config': {config(root)!r}}}).status_code == 200\n"
        "print(sorted({'torch', 'transformers', 'trl', 'datasets', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_two_hundred_requests_at_once_are_answered_as_single_ones_are(root: Path, tmp_path: Path) -> None:
    requests = [{"config": config(root, learning_rate=1e-4 * (1 + number % 20))} for number in range(200)]

    async def at_once(address: str) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(client.post("/recommend", json=request) for request in requests))

    single = TestClient(create_app([root]), base_url="http://localhost")
    expected = [single.post("/recommend", json=request).content for request in requests[:20]]
    with served([root], tmp_path) as address:
        answers = asyncio.run(at_once(address))
    assert [answer.status_code for answer in answers] == [200] * 200
    assert [answer.content for answer in answers] == expected * 10
    assert len(set(expected)) == 20


@pytest.mark.slow
def test_a_template_that_never_ends_is_ended_and_the_server_goes_on(root: Path, tmp_path: Path) -> None:
    rows = root / "chat.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    client = TestClient(create_app([root], probe_seconds=3), base_url="http://localhost")
    response = client.post(
        "/recommend", json={"config": {**config(root), "training_data_path": str(rows), "chat_template": loop}}
    )
    assert response.status_code == 422
    assert "longer than 3 seconds" in response.json()["detail"][0]["msg"]
    assert client.get("/health").status_code == 200
