"""What all tests share: no network, no telemetry, few threads, and tiny models made on the spot."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

OFFLINE = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_OFFLINE": "1",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
}
KEPT_FILES = ("HF_HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
"""Folders that libraries keep files in; tests give them one that goes away."""

FROM_OUTSIDE = (
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
    "SFT_TRAINER_CONFIG_JSON_ENV_VAR",
    "SFT_TRAINER_CONFIG_JSON_PATH",
    "WANDB_API_KEY",
    "WANDB_PROJECT",
    "WANDB_RUN_ID",
)
"""Settings of the user's shell that would change what a test sees."""

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
SENTENCES = (
    "The heron waits beside the river until the evening.",
    "Question: what is 12 + 30? Answer: 42.",
    "Please write the words in the order of the alphabet.",
    "A lantern, two kettles and three green umbrellas stand in the hall.",
)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the environment before any test module, and so any library, is imported; subprocesses inherit it."""
    home = tempfile.TemporaryDirectory(prefix="tuning-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    os.environ.update(OFFLINE, **{name: home.name for name in KEPT_FILES})
    for name in FROM_OUTSIDE:
        os.environ.pop(name, None)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data(project_root: Path) -> Path:
    """Return the folder of example data beside the checkout; skip the test where there is none."""
    folder = project_root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_config_only_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a Llama of about 100,000 parameters: configuration and tokenizer, no weights."""
    folder = tmp_path_factory.mktemp("tiny_config_only_model")
    vocab_size = _write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(_llama_config(vocab_size)))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the same folder with random weights, always the same ones, as safetensors."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "model"
    shutil.copytree(tiny_config_only_model, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    model.save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path) -> int:
    """Train a byte-level BPE tokenizer on a few sentences; return the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True))
    document = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(document))
    return tokenizer.get_vocab_size()


def _llama_config(vocab_size: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    }
