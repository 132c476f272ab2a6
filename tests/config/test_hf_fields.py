from __future__ import annotations

import dataclasses

import pytest

from tuning.config.hf_fields import sft_config_fields


@pytest.mark.slow
def test_the_fields_read_from_source_are_those_of_the_class() -> None:
    from trl import SFTConfig

    assert set(sft_config_fields()) == {field.name for field in dataclasses.fields(SFTConfig) if field.init}


@pytest.mark.slow
def test_the_defaults_read_from_source_are_those_of_the_class() -> None:
    from trl import SFTConfig

    real = {field.name: field.default for field in dataclasses.fields(SFTConfig)}
    wrong = {
        name for name, found in sft_config_fields().items() if found.default is not None and found.default != real[name]
    }
    assert wrong == set()
