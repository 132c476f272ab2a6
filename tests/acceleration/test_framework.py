"""The framework alone: which plugins act, what they are given, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuning.acceleration.framework import AccelerationFramework
from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.plugins import PLUGINS
from tuning.config.section import Section
from tuning.errors import ConfigError, UserError


class Settings(Section):
    level: int = 1
    name: str | None = None


class Noting(AccelerationPlugin):
    settings = Settings


class Loading(Noting):
    @property
    def requires_custom_loading(self) -> bool:
        return True

    def model_loader(self, model_name: str, **kwargs: Any) -> Any:
        return ("loaded", model_name, kwargs)


class Consuming(Noting):
    @property
    def requires_augmentation(self) -> bool:
        return True

    def augmentation(self, model: Any, train_args: Any, modifiable_args: tuple[Any, ...] = (None,)) -> Any:
        train_args["seen"] = modifiable_args
        return [model], (None,)


@pytest.fixture(autouse=True)
def _own_registrations() -> Iterator[None]:
    """Take back what a test registers."""
    before = dict(PLUGINS._registered)
    yield
    PLUGINS._registered.clear()
    PLUGINS._registered.update(before)


def register(kind: type[AccelerationPlugin], *or_paths: str, name: str | None = None, both: Any = ()) -> None:
    AccelerationPlugin.register_plugin(kind, both, or_paths, name)


def framework(plugins: dict[str, Any], **options: Any) -> AccelerationFramework:
    return AccelerationFramework({"plugins": plugins}, **options)


def refusal(plugins: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        framework(plugins, **options)
    return str(caught.value)


def test_without_a_configuration_nothing_is_changed() -> None:
    empty = AccelerationFramework()
    assert not empty.active_plugins
    assert not empty.requires_custom_loading and not empty.requires_augmentation
    assert empty.augmentation("model", {}, ("peft",)) == ("model", ("peft",))  # type: ignore[arg-type]
    assert empty.get_callbacks_and_ready_for_train() == []


def test_a_plugin_gets_exactly_its_stanza_with_values_of_the_declared_types() -> None:
    register(Noting, "made.up.one")
    made = framework({"made": {"up": {"one": {"level": "3"}}}})
    (active,) = made._active
    assert active.plugin.configurations == {"made.up.one": {"level": 3}}
    assert active.plugin.chosen_settings() == Settings(level=3)


@pytest.mark.parametrize("stanza", [None, True, {}])
def test_a_stanza_without_settings_turns_its_plugin_on(stanza: Any) -> None:
    register(Noting, "made.up.one")
    assert list(framework({"made": {"up": {"one": stanza}}}).active_plugins) == ["Noting"]


def test_a_stanza_that_is_false_turns_its_plugin_off() -> None:
    register(Noting, "made.up.one")
    assert not framework({"made": {"up": {"one": False}}}).active_plugins


def test_a_stanza_inside_of_another_belongs_to_its_own_path() -> None:
    register(Noting, "made", "made.inner")
    (active,) = framework({"made": {"inner": {"level": 2}}})._active
    assert active.plugin.configurations == {"made.inner": {"level": 2}}


def test_a_plugin_of_and_paths_acts_only_where_all_are_there(caplog: pytest.LogCaptureFixture) -> None:
    register(Noting, both=["made.one", "made.two"])
    assert list(framework({"made": {"one": {}, "two": {}}}).active_plugins) == ["Noting"]
    assert not framework({"made": {"one": {}}}).active_plugins
    assert "acts only with made.two beside it" in caplog.text
    assert "acts only with made.two" in refusal({"made": {"one": {}}}, strict=True)


@pytest.mark.parametrize("given", [["one"], ["two"], ["one", "two"]])
def test_a_plugin_of_or_paths_acts_where_one_is_there(given: list[str]) -> None:
    register(Noting, "made.one", "made.two")
    (active,) = framework({"made": {name: {} for name in given}})._active
    assert sorted(active.paths) == [f"made.{name}" for name in given]


def test_a_path_that_nothing_is_registered_under_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    plugins = {"peft": {"quantization": {"zebra": {"a": 1}}}}
    assert not framework(plugins).active_plugins
    assert "plugins.peft.quantization.zebra is passed over" not in caplog.text
    assert "peft.quantization.zebra is passed over: no installed plugin" in caplog.text
    assert "plugins.peft.quantization.zebra" in refusal(plugins, strict=True)


@pytest.mark.parametrize(
    ("plugins", "told"),
    [
        ({"peft": {"quantization": {"autogptq": {}}}}, "Did you mean 'auto_gptq'?"),
        ({"training": {"atention": {"padding_free": {}}}}, "Did you mean 'attention'?"),
        ({"padding_free": {}}, "Did you mean 'training.attention.padding_free'?"),
        ({"training": {"attention": 3}}, "expected an object with padding_free"),
        ({"peft": {"quantization": {"auto_gptq": 3}}}, "expected an object of settings, or true or false"),
    ],
)
def test_a_misspelt_path_is_an_error_that_names_the_nearest(plugins: dict[str, Any], told: str) -> None:
    assert told in refusal(plugins)


def test_a_misspelt_stanza_is_told_beside_a_valid_one_and_all_at_once() -> None:
    register(Noting, "made.one")
    told = refusal({"made": {"one": {"levle": 1, "name": []}, "onne": {}}})
    assert (
        "plugins.made.one.levle: got 1 (from argument); the plugin has no such setting. Did you mean 'level'?" in told
    )
    assert "plugins.made.one.name: got [] (from argument); expected text." in told
    assert "plugins.made.onne" in told and "Did you mean 'one'?" in told


def test_a_mapping_needs_the_key_plugins() -> None:
    with pytest.raises(
        ConfigError, match=r"training: .*there is no such key. The stanzas of plugins stand under plugins"
    ):
        AccelerationFramework({"training": {}})


def test_a_file_is_told_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "plugins.yaml"
    file.write_text("plugins:\n  peft:\n    quantization:\n      auto_gptq:\n        kernle: torch\n")
    with pytest.raises(ConfigError, match=r"plugins.yaml, line 5\).*Did you mean 'kernel'"):
        AccelerationFramework(file)


@pytest.mark.parametrize("text", ["plugins: [", "plugins: {a: 1, a: 2}", "- 1", "plugins: 7", "\xff"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plugins.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        AccelerationFramework(str(file))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        AccelerationFramework(tmp_path / "none.yaml")


def test_only_one_plugin_loads_the_model() -> None:
    register(Loading, "made.one")
    register(Loading, "made.two", name="Second")
    told = refusal({"made": {"one": {}, "two": {}}})
    assert "only one plugin can load the model" in told
    assert "Loading (made.one)" in told and "Second (made.two)" in told


def test_plugins_that_exclude_each_other_are_both_named() -> None:
    register(type("Jealous", (Noting,), {"conflicts": ("made.two",)}), "made.one")
    register(Noting, "made.two.inner")
    assert "Jealous (made.one) cannot work beside Noting (made.two.inner)" in refusal(
        {"made": {"one": {}, "two": {"inner": {}}}}
    )


def test_a_plugin_that_needs_another_says_so() -> None:
    register(type("Leaning", (Noting,), {"requires": ("made.two",)}), "made.one")
    register(Noting, "made.two")
    assert "Leaning cannot work without Noting (made.two). Add made.two." in refusal({"made": {"one": {}}})
    assert len(framework({"made": {"one": {}, "two": {}}}).active_plugins) == 2


def test_a_plugin_whose_package_is_missing_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    register(type("Poor", (Noting,), {"require_packages": ("no-such-package>=1",)}), "made.one")
    assert not framework({"made": {"one": {}}}).active_plugins
    assert "Poor needs no-such-package>=1, which is not installed" in caplog.text
    assert "no-such-package>=1" in refusal({"made": {"one": {}}}, strict=True)


def test_a_package_of_another_version_is_refused() -> None:
    register(type("Choosy", (Noting,), {"require_packages": ("pydantic>=99",)}), "made.one")
    told = refusal({"made": {"one": {}}})
    assert "Choosy needs pydantic>=99, and 2." in told and "pip install 'pydantic>=99'" in told


def test_a_plugin_for_another_device_is_refused() -> None:
    register(type("Green", (Noting,), {"require_device": "cuda"}), "made.one")
    assert "Green needs a cuda device, and this run has cpu" in refusal({"made": {"one": {}}}, device="cpu")
    assert framework({"made": {"one": {}}}, device="cuda").active_plugins


def test_a_model_of_another_architecture_is_refused_before_its_weights(tiny_config_only_model: Path) -> None:
    register(type("Narrow", (Loading,), {"restricted_model_archs": frozenset({"GPT2LMHeadModel"})}), "made.one")
    made = framework({"made": {"one": {}}})
    with pytest.raises(ConfigError, match="Narrow works with GPT2LMHeadModel, and the model is LlamaForCausalLM"):
        made.model_loader(str(tiny_config_only_model))


def test_the_one_loader_gets_the_name_and_the_options(tiny_config_only_model: Path) -> None:
    archs = frozenset({"LlamaForCausalLM"})
    register(type("Fitting", (Loading,), {"restricted_model_archs": archs}), "made.one")
    name = str(tiny_config_only_model)
    loaded: Any = framework({"made": {"one": {}}}).model_loader(name, dtype="float32")
    assert loaded == ("loaded", name, {"dtype": "float32"})


def test_a_consumed_peft_config_comes_back_as_none_and_the_next_plugin_sees_that() -> None:
    register(Consuming, "made.one", name="A")
    register(Consuming, "made.two", name="B")
    args: Any = {}
    made = framework({"made": {"one": {}, "two": {}}})
    assert made.requires_augmentation
    assert made.augmentation("model", args, modifiable_args=("lora",)) == ([["model"]], (None,))  # type: ignore[arg-type]
    assert args["seen"] == (None,)


def test_two_frameworks_of_one_process_do_not_see_each_other() -> None:
    register(Loading, "made.one")
    register(Consuming, "made.two")
    first, second = framework({"made": {"one": {"level": 1}}}), framework({"made": {"two": {"level": 2}}})
    assert (list(first.active_plugins), list(second.active_plugins)) == (["Loading"], ["Consuming"])
    assert first.requires_custom_loading and not first.requires_augmentation
    assert not second.requires_custom_loading and second.requires_augmentation


def test_a_broken_plugin_blocks_no_other(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    load = PLUGINS.load
    register(Noting, "made.one")
    register(Noting, "made.two", name="Broken")
    monkeypatch.setattr(PLUGINS, "load", lambda name: 1 / 0 if name == "Broken" else load(name))
    assert list(framework({"made": {"one": {}, "two": {}}}).active_plugins) == ["Noting"]
    assert "'Broken' cannot be used: ZeroDivisionError" in caplog.text
    assert "made.two is passed over" in caplog.text


def test_a_plugin_of_a_script_has_no_version_and_is_told_so() -> None:
    kind = type("Scripted", (Noting,), {"__module__": "some_script"})
    register(kind, "made.one")
    assert framework({"made": {"one": {}}}).active_plugins == {"Scripted": "unpackaged"}


@pytest.mark.parametrize(("name", "paths"), [("PaddingFreePlugin", ["made.one"]), ("Pathless", [])])
def test_a_name_that_is_taken_and_a_plugin_without_paths_are_refused(name: str, paths: list[str]) -> None:
    with pytest.raises(UserError, match=name):
        AccelerationPlugin.register_plugin(Noting, configuration_or_paths=paths, name=name)


def test_what_is_passed_over_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    framework({"zebra": {}})
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


class InTraining(Noting):
    def get_callbacks_and_ready_for_train(self, model: Any = None, accelerator: Any = None) -> list[Any]:
        return []


@pytest.mark.parametrize("is_ready", [False, True])
def test_a_training_that_plugins_are_not_ready_for_is_told_of_once(
    is_ready: bool, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    register(InTraining, "a.b", name="Waits")
    made, model = framework({"a": {"b": {}}}), torch.nn.Linear(2, 2)
    made.augmentation(model.eval(), {})
    model(torch.zeros(1, 2))
    assert caplog.text == ""
    if is_ready:
        made.get_callbacks_and_ready_for_train(model)
    for _ in range(2):
        model.train()(torch.zeros(1, 2))
    assert caplog.text.count("Waits: not in effect") == (not is_ready)
