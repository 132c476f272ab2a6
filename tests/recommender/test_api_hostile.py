from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import schemathesis
from api_server import served
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tuning.config.ir import IR
from tuning.config.names import field_paths
from tuning.data.sources import read_rows
from tuning.errors import ConfigError, DataError, UserError
from tuning.recommender.adapters.documents import read_document
from tuning.recommender.allowed_roots import AllowedRoots
from tuning.recommender.api import create_app
from tuning.recommender.api_body import MOST_BYTES
from tuning.recommender.api_paths import followed
from tuning.recommender.bounded_walk import Walk
from tuning.recommender.model_files import MOST_JSON_BYTES
from tuning.recommender.probe_process import probe_apart

MODEL, ROWS = "{root}/model", "{root}/rows.jsonl"
ROW = json.dumps({"text": "Two kettles and a heron."}) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_config_only_model: Path) -> Path:
    """Make a folder to serve, `root`, with ways that lead to another, `outside`, which must never be read."""
    home = tmp_path_factory.mktemp("home")
    for name in ("root", "outside"):
        shutil.copytree(tiny_config_only_model, home / name / "model")
        (home / name / "rows.jsonl").write_text(ROW * 20)
    root, outside = home / "root", home / "outside"
    (root / "linked_model").symlink_to(outside / "model")
    (root / "linked_rows.jsonl").symlink_to(outside / "rows.jsonl")
    (root / "linked").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    shutil.copytree(root / "model", root / "linked_config")
    (root / "linked_config" / "config.json").unlink()
    (root / "linked_config" / "config.json").symlink_to(outside / "model" / "config.json")
    shutil.copytree(root / "model", root / "far_weights")
    far = {"weight_map": {"a": "../../outside/model/model.safetensors"}}
    (root / "far_weights" / "model.safetensors.index.json").write_text(json.dumps(far))
    (root / "folder_with_link").mkdir()
    (root / "folder_with_link" / "a.jsonl").symlink_to(outside / "rows.jsonl")
    (root / "folder_with_pipe").mkdir()
    os.mkfifo(root / "folder_with_pipe" / "a.jsonl")
    (root / "broken.jsonl").write_bytes(b'{"text": "\xff"}\n')
    (root / "strange.jsonl").write_text('{"\\ud800": 1}\n')
    (root / "not_rows.jsonl").write_text("[1]\n")
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> TestClient:
    return TestClient(create_app([home / "root"]), base_url="http://localhost")


def deep(levels: int) -> str:
    return '{"config": {"metadata": ' + '{"a":' * levels + "1" + "}" * levels + "}}"


BODIES: dict[str, tuple[str | bytes, int]] = {
    "nothing": ("", 422),
    "no JSON": ("{", 422),
    "a number": ("3", 422),
    "null": ("null", 422),
    "a list": ("[]", 422),
    "NaN": ('{"config": {"learning_rate": NaN}}', 422),
    "Infinity": ('{"config": {"learning_rate": -Infinity}}', 422),
    "a number that overflows": ('{"config": {"learning_rate": 1e999}}', 422),
    "a number of 5,000 digits": ('{"config": {"max_steps": ' + "9" * 5000 + "}}", 422),
    "a number beyond 2^53": ('{"config": {"max_steps": 9007199254740993}}', 422),
    "100,000 levels": (deep(100_000), 422),
    "500 levels": (deep(500), 422),
    "33 levels": (deep(33), 422),
    "a key twice": ('{"config": {"r": 1, "r": 2}}', 422),
    "a null character": ('{"config": {"model_name_or_path": "a\\u0000b"}}', 422),
    "a null character in a key": ('{"config": {"a\\u0000b": 1}}', 422),
    "half a surrogate pair": ('{"config": {"model_name_or_path": "\\ud800"}}', 422),
    "half a surrogate pair in a key": ('{"config": {"\\ud800": 1}}', 422),
    "not UTF-8": (b'{"config": {"model_name_or_path": "\xff"}}', 422),
    "UTF-16": ('{"config": {}}'.encode("utf-16"), 422),
    "a key of 201 characters": (json.dumps({"config": {"a" * 201: 1}}), 422),
    "a key of a thousand dots": (json.dumps({"config": {"metadata" + ".a" * 1000: 1}}), 422),
    "2,000 unknown keys": (json.dumps({"config": {f"lerning_rate{n}": 1 for n in range(2000)}}), 422),
    "30,000 values": (json.dumps({"config": {"metadata": {"a": [1] * 30_000}}}), 422),
    "more than a megabyte": (json.dumps({"config": {"metadata": "a" * MOST_BYTES}}), 413),
}

REQUESTS: dict[str, dict[str, Any]] = {
    "no document": {},
    "an empty document": {"config": {}},
    "an unknown document": {"config": {"model_name_or_path": MODEL}, "else": {}},
    "text as a document": {"config": "model_name_or_path=a"},
    "a list as a document": {"config": [1]},
    "a number as a section": {"config": {"model": 3}},
    "a number as a model": {"config": {"model_name_or_path": {"a": 1}}},
    "an empty model": {"config": {"model_name_or_path": ""}},
    "a model of blanks": {"config": {"model_name_or_path": "  "}},
    "an unknown field": {"config": {"model_name_or_path": MODEL, "lerning_rate": 1}},
    "a field of another section": {"config": {"model": {"model_name_or_path": MODEL, "r": 8}}},
    "a field twice": {"config": {"model_name_or_path": MODEL, "model": {"model_name_or_path": MODEL}}},
    "a field in two documents": {
        "config": {"model_name_or_path": MODEL},
        "tuning_config": {"model_name_or_path": MODEL},
    },
    "text as a number": {"config": {"model_name_or_path": MODEL, "learning_rate": "fast"}},
    "true as a number": {"config": {"model_name_or_path": MODEL, "max_steps": True}},
    "a negative count": {"config": {"model_name_or_path": MODEL, "per_device_train_batch_size": -1}},
    "a number as text": {"config": {"model_name_or_path": MODEL, "training_data_path": [{}]}},
    "a file name of nothing": {"config": {"model_name_or_path": MODEL}, "config_file": ""},
    "a number as a file name": {"config": {"model_name_or_path": MODEL}, "config_file": 3},
    "more GPUs than there are": {"config": {"model_name_or_path": MODEL, "num_gpus_per_node": 10**12}},
    "rules of the asker's": {"config": {"model_name_or_path": MODEL, "rules_dir": "{root}"}},
    "data sets that are none": {"tuning_data_config": {"dataprocessor": 3, "datasets": 7}},
    "columns that are lists": {
        "tuning_data_config": {
            "dataprocessor": {},
            "datasets": [
                {
                    "data_paths": [ROWS],
                    "data_handlers": [
                        {
                            "name": "tokenize_and_apply_input_masking",
                            "arguments": {"fn_kwargs": {"input_column_name": [1], "output_column_name": {}}},
                        }
                    ],
                }
            ],
        }
    },
    "two spellings of half precision": {"config": {"model_name_or_path": MODEL, "bf16": True, "fp16": True}},
}

PATHS = {
    "an absolute path": "{outside}/model",
    "a path that goes up": "{root}/../outside/model",
    "a system folder": "/etc",
    "the root of all": "/",
    "a link to a folder": "{root}/linked_model",
    "a path through a link": "{root}/linked/model",
    "a link to itself": "{root}/loop",
    "a home": "~",
    "a home of nobody": "~nobody-of-that-name/model",
    "a name that no file can have": "{root}/" + "a" * 300,
    "a path that is too long": "/a" * 5000,
    "a file": "{root}/rows.jsonl",
    "nothing there": "{root}/missing",
    "a device": "/dev/zero",
    "processes": "/proc/self/root/etc",
    "an address": "https://example.com/model",
    "a file address": "file:///etc",
    "a model with a linked file": "{root}/linked_config",
    "a model whose weights are elsewhere": "{root}/far_weights",
}

DATA = {
    "an absolute path": "{outside}/rows.jsonl",
    "a path that goes up": "{root}/../outside/rows.jsonl",
    "a link to a file": "{root}/linked_rows.jsonl",
    "a folder with a link": "{root}/folder_with_link",
    "a folder with a pipe": "{root}/folder_with_pipe",
    "a pattern that leads out": "{root}/../outside/*.jsonl",
    "a pattern that goes up": "{root}/*/../../outside/*.jsonl",
    "a pattern through a link": "{root}/linked/*.jsonl",
    "a pattern over links": "{root}/link*/rows.jsonl",
    "a pattern that starts at the root of all": "/**/*.jsonl",
    "a pattern of many stars": "{root}/**/**/**/*.jsonl",
    "a pattern without end": "{root}/[",
    "a file of another kind": "{root}/model/tokenizer.model",
    "a system file": "/etc/passwd",
    "a device": "/dev/zero",
    "an address": "s3://bucket/rows.jsonl",
    "a link to itself": "{root}/loop",
}

BROKEN = ("broken", "strange", "not_rows")


def filled(value: Any, home: Path) -> Any:
    """Put the folders of a test into a request."""
    text = json.dumps(value).replace("{root}", str(home / "root")).replace("{outside}", str(home / "outside"))
    return json.loads(text)


def refused(response: Any, status: int = 422) -> list[dict[str, Any]]:
    assert response.status_code == status, response.text[:500]
    faults = response.json()["detail"]
    assert faults and all(fault["msg"] and fault["loc"] for fault in faults)
    return faults


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_document_is_refused(client: TestClient, name: str) -> None:
    body, status = BODIES[name]
    refused(client.post("/recommend", content=body, headers={"content-type": "application/json"}), status)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_means_nothing_is_refused(client: TestClient, home: Path, name: str) -> None:
    refused(client.post("/recommend", json=filled(REQUESTS[name], home)))


@pytest.mark.parametrize("field", ["model_name_or_path", "tokenizer_name_or_path"])
@pytest.mark.parametrize("name", PATHS)
def test_a_model_outside_is_refused(client: TestClient, home: Path, name: str, field: str) -> None:
    document = filled({"model_name_or_path": MODEL, field: PATHS[name]}, home)
    faults = refused(client.post("/recommend", json={"config": document}))
    assert str(home / "outside") not in faults[0]["msg"].replace(document[field], "")


@pytest.mark.parametrize("field", ["training_data_path", "validation_data_path"])
@pytest.mark.parametrize("name", DATA)
def test_rows_outside_are_refused(client: TestClient, home: Path, name: str, field: str) -> None:
    document = filled({"model_name_or_path": MODEL, "training_data_path": ROWS, field: DATA[name]}, home)
    faults = refused(client.post("/recommend", json={"config": document}))
    assert str(home / "outside") not in faults[0]["msg"].replace(document[field], "")


@pytest.mark.parametrize("name", BROKEN)
def test_rows_that_cannot_be_read_are_refused(client: TestClient, home: Path, name: str) -> None:
    document = filled({"model_name_or_path": MODEL, "training_data_path": f"{{root}}/{name}.jsonl"}, home)
    assert name in refused(client.post("/recommend", json={"config": document}))[0]["msg"] or name == "strange"


@pytest.mark.parametrize("field", ["chat_template_path", "history"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{outside}", "{root}/../outside/rows.jsonl", "{root}/linked", "{root}/loop"]
)
def test_other_paths_outside_are_refused_too(client: TestClient, home: Path, field: str, path: str) -> None:
    document = filled({"model_name_or_path": MODEL, field: path}, home)
    refused(client.post("/recommend", json={"config": document}))


def test_whether_something_is_there_outside_is_not_told(client: TestClient, home: Path) -> None:
    answers = []
    for name in ("{outside}/model", "{outside}/nothing"):
        document = filled({"model_name_or_path": name}, home)
        faults = refused(client.post("/recommend", json={"config": document}))
        answers.append(faults[0]["msg"].replace(document["model_name_or_path"], ""))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "path", ["/etc", "..", "{outside}", "{root}/linked", "{root}/..", "~", "\0", "{root}/rows.jsonl", "a" * 9000]
)
def test_files_lists_nothing_outside(client: TestClient, home: Path, path: str) -> None:
    refused(client.get("/files", params={"path": filled(path, home)}))


def test_the_last_of_a_hundred_thousand_keys_that_stands_twice_is_found_at_once(client: TestClient) -> None:
    body = "{" + "".join(f'"{number:x}":1,' for number in range(100_000)) + '"1869f":1}'
    begun = time.monotonic()
    faults = refused(client.post("/recommend", content=body, headers={"content-type": "application/json"}))
    assert "'1869f' stands twice" in faults[0]["msg"]
    assert time.monotonic() - begun < 5


def test_keys_that_stand_twice_in_a_file_are_found_at_once(tmp_path: Path) -> None:
    pairs = ",".join(f'"{number % 30_000}":1' for number in range(60_000))
    (tmp_path / "rows.jsonl").write_text("{" + pairs + "}\n")
    (tmp_path / "run.json").write_text("{" + pairs + "}")
    begun = time.monotonic()
    with pytest.raises(DataError, match="stands more than once"):
        next(read_rows([str(tmp_path / "rows.jsonl")]))
    with pytest.raises(UserError, match="stands twice"):
        read_document(tmp_path / "run.json")
    assert time.monotonic() - begun < 10


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory, tiny_config_only_model: Path) -> Path:
    """Make folders whose links never end, one that holds 6,000 files, and a link to a folder outside."""
    root = tmp_path_factory.mktemp("maze") / "root"
    shutil.copytree(tiny_config_only_model, root / "model")
    for name in ("d", "many", "out"):
        (root / name).mkdir()
    for name in ("a", "b"):
        (root / "d" / name).symlink_to(".")
    for number in range(6_000):
        (root / "many" / f"{number}.jsonl").touch()
    (root.parent / "hidden").mkdir()
    (root.parent / "hidden" / "salary.jsonl").write_text(ROW)
    (root / "out" / "other").symlink_to(root.parent / "hidden")
    return root


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["d/**/x.jsonl"], "no data file"),
        (["d/" + "*/" * 900 + "x.jsonl"], "32 parts"),
        (["many"] * 400, "10,000 files"),
        (["many", "many/*", "./many"], "10,000 files"),
        (["out/o*/*"], "other leads out"),
        (["out/*/salary.jsonl"], "other leads out"),
        (["out/**/*.jsonl"], "no data file"),
    ],
)
def test_patterns_end_and_tell_nothing_of_what_lies_outside(maze: Path, paths: list[str], told: str) -> None:
    client = TestClient(create_app([maze]), base_url="http://localhost")
    document = {"model_name_or_path": str(maze / "model"), "training_data_path": [str(maze / path) for path in paths]}
    message = refused(client.post("/recommend", json={"config": document}))[0]["msg"].replace(str(paths), "")
    assert told in message
    assert "salary" not in message or "salary" in paths[0]


def test_a_finished_run_that_is_named_often_is_looked_at_once(maze: Path) -> None:
    often = IR.of({"recommender": {"history": [str(maze / "many")] * 15_000}}, "request")
    assert len(followed(often, AllowedRoots([maze])).files) == 6_000
    twice = IR.of({"recommender": {"history": [str(maze / "many"), str(maze)]}}, "request")
    with pytest.raises(ConfigError, match="10,000 files"):
        followed(twice, AllowedRoots([maze]))


def test_a_walk_looks_at_so_many_entries_and_ends_in_time(maze: Path) -> None:
    with pytest.raises(UserError, match="100,000 files and folders"):
        AllowedRoots([maze]).data_files(str(maze / "d" / "/".join("*" * 20)), Walk(entries=2_000))
    with pytest.raises(UserError, match="takes longer than"):
        AllowedRoots([maze]).data_files(str(maze / "many"), Walk(ends=0))


def test_a_config_of_any_size_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}' + " " * MOST_JSON_BYTES)
    client = TestClient(create_app([tmp_path]), base_url="http://localhost")
    entries = client.get("/files", params={"path": str(tmp_path)}).json()["entries"]
    assert [entry["kind"] for entry in entries] == ["folder"]


def test_links_that_lead_outside_are_not_even_listed(client: TestClient, home: Path) -> None:
    entries = client.get("/files", params={"path": str(home / "root")}).json()["entries"]
    names = {entry["name"] for entry in entries}
    assert "rows.jsonl" in names
    assert not {"linked", "linked_model", "linked_rows.jsonl", "loop"} & names


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_another_content_type_is_refused(client: TestClient, kind: str) -> None:
    refused(client.post("/recommend", content="{}", headers={"content-type": kind}), 415)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/recommend"), ("POST", "/files"), ("DELETE", "/"), ("PUT", "/schema")]
)
def test_another_method_is_refused(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path, json={}).status_code == 405


@pytest.mark.parametrize(
    "path", ["/nothing", "/page.css/../api.py", "/../api.py", "/%2e%2e/api.py", "/recommender.html"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("value", [1e-300, 1e15, 5e-324])
@pytest.mark.parametrize("field", ["learning_rate", "num_train_epochs", "lora_alpha", "max_length", "r", "max_steps"])
def test_extreme_numbers_are_answered_or_refused(client: TestClient, home: Path, field: str, value: float) -> None:
    document = filled({"model_name_or_path": MODEL, "training_data_path": ROWS, "peft_method": "lora"}, home)
    number = int(value) if value > 1 else value
    assert client.post("/recommend", json={"config": {**document, field: number}}).status_code in (200, 422)


@pytest.mark.parametrize("name", ["a b.json", "$(touch x).json", "a;b", "`id`", "a'b\"c", "a\nb", "*", "-rf", "ä.json"])
def test_shell_characters_arrive_as_they_are(client: TestClient, home: Path, name: str) -> None:
    document = filled({"model_name_or_path": MODEL}, home)
    answer = client.post("/recommend", json={"config": document, "config_file": name}).json()
    assert shlex.split(answer["launch_command"])[-1] == name


def test_a_folder_with_shell_characters_is_a_folder_like_any_other(home: Path, tiny_config_only_model: Path) -> None:
    folder = home / "root" / "$(reboot); 'a' b"
    shutil.copytree(tiny_config_only_model, folder, dirs_exist_ok=True)
    answer = TestClient(create_app([home / "root"]), base_url="http://localhost").post(
        "/recommend", json={"config": {"model_name_or_path": str(folder)}}
    )
    assert answer.json()["config"]["model"]["model_name_or_path"] == str(folder)
    assert answer.json()["memory"]["fits"] is True


def test_the_process_that_probes_opens_nothing_outside_whatever_points_there(home: Path) -> None:
    inside, outside = home / "root", home / "outside"
    document = IR.of({"model": {"model_name_or_path": str(outside / "model")}}, "file")
    assert probe_apart(document, 30, [outside]).model is not None
    assert probe_apart(document, 30, [inside]).model is None
    rows = document.merge({"data": {"training_data_path": [str(outside / "rows.jsonl")]}}, "file")
    with pytest.raises(DataError, match="cannot be read"):
        probe_apart(rows, 30, [inside])


WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(os.environ["WATCH_OUTSIDE"]):
        note(f"{event} {arguments[0]}")
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if not str(arguments[0]).startswith(("/dev/", "/proc/")) and not isinstance(arguments[0], int):
            note(f"write {arguments[0]}")
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        note(f"{event} {arguments}")
def note(text):
    if text not in seen:
        seen.add(text)
        os.write(log, (text + chr(10)).encode())
seen = set()
log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.dont_write_bytecode = True
sys.addaudithook(watch)
"""


@pytest.fixture
def watched(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Serve `root` with every process of the server noting what it opens outside, writes, or connects to."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "seen.txt"
    for name, value in {"WATCH_OUTSIDE": home / "outside", "WATCH_LOG": log}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name)
    with served([home / "root"], tmp_path, {"PYTHONPATH": str(tmp_path / "watch")}) as address:
        yield address, log


@pytest.mark.slow
def test_nothing_outside_is_opened_nothing_is_written_and_nobody_is_called(
    watched: tuple[str, Path], home: Path
) -> None:
    address, log = watched
    names = [*PATHS.values(), "someone/some-model", "gpt2", MODEL]
    documents = [
        {"model_name_or_path": name, "tokenizer_name_or_path": other}
        for name, other in zip(names, [*names[1:], MODEL], strict=True)
    ]
    documents += [
        {"model_name_or_path": MODEL, "training_data_path": name} for name in [*DATA.values(), ROWS, "someone/rows"]
    ]
    statuses = {
        httpx.post(f"{address}/recommend", json={"config": filled(document, home)}, timeout=60).status_code
        for document in documents
    }
    assert statuses == {200, 422}
    assert log.read_text() == ""
    search_path = {**os.environ, "PYTHONPATH": str(log.parent / "watch")}
    subprocess.run(
        [sys.executable, "-c", f"open({str(home / 'outside' / 'rows.jsonl')!r})"], env=search_path, check=True
    )
    assert log.read_text().startswith("open ")


@pytest.mark.slow
def test_a_client_that_never_finishes_its_body_is_let_go(home: Path, tmp_path: Path) -> None:
    with (
        served([home / "root"], tmp_path) as address,
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line,
    ):
        line.settimeout(30)
        line.sendall(
            b"POST /recommend HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 408")


QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
    phases=[Phase.generate],
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_that_the_description_allows_or_forbids_breaks_the_server(home: Path, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app([home / "root"], hosts=["testserver"]))
    paths: list[str] = []
    for found in schema.get_all_operations():
        operation: Any = cast(Any, found).ok()
        if mode is GenerationMode.NEGATIVE and not operation.query and not operation.body:
            continue  # there is nothing to be wrong in

        @QUICK
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Any) -> None:
            assert case.call().status_code < 500

        answers()
        paths.append(operation.path)
    assert {"/recommend", "/files"} <= set(paths)


@pytest.mark.slow
def test_no_value_of_a_known_field_breaks_the_server(client: TestClient, home: Path) -> None:
    fields = [name for name, path in field_paths().items() if path.split(".")[0] in ("training", "peft", "tracking")]

    @settings(QUICK, max_examples=200)
    @given(st.dictionaries(st.sampled_from(fields), ANY, max_size=4))
    def answers(values: dict[str, Any]) -> None:
        document = {**filled({"model_name_or_path": MODEL, "training_data_path": ROWS}, home), **values}
        body = json.dumps({"config": document})
        response = client.post("/recommend", content=body, headers={"content-type": "application/json"})
        assert response.status_code in (200, 422)

    answers()
