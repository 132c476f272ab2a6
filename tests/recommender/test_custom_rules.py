from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_facts import SMALL, data, document

from tuning.config.ir import IR
from tuning.errors import ConfigError, UserError
from tuning.recommender.custom_rules import load_rules_dir, rules_of
from tuning.recommender.engine import RuleEngine, recommend

IMPORTS = """
from __future__ import annotations
from dataclasses import dataclass
from tuning.recommender.action import Action, Kind, Level, suggest
"""
SEED = """
class Custom_Seed(Action):
    def apply(self, ir, facts):
        return suggest({"training.seed": 7}, "Seven.", Kind.MODEL_QUALITY, "a test")
"""
FEW_ROWS = replace(SMALL, data=data(300))


def folder_of(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(IMPORTS + text)
    return folder


def rule(body: str, name: str = "Custom_Mine") -> str:
    return f"\nclass {name}(Action):\n    def apply(self, ir, facts):\n        {body}\n"


def test_a_rule_of_the_users_takes_part_like_any_other(tmp_path: Path) -> None:
    rules = load_rules_dir(folder_of(tmp_path / "rules", seed=SEED))
    final, (made,) = RuleEngine(rules).run(IR(), SMALL)
    assert (final.get("training.seed"), final.sources["training.seed"]) == (7, "action Custom_Seed")
    assert made.comment == "Seven."


def test_a_folder_that_the_users_own_words_name_is_used_after_the_built_in_rules(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rules", seed=SEED)
    _, recommendations = recommend(document(recommender__rules_dir=str(folder)), SMALL)
    assert recommendations[-1].action == "Custom_Seed"


def test_no_folder_is_looked_into_unless_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "rules", seed=SEED)
    monkeypatch.chdir(tmp_path)
    assert rules_of(IR()) == []


@pytest.mark.parametrize("source", ["request", "recipe sft", "action Custom_Other", "default", "profile x"])
def test_a_folder_that_somebody_else_names_is_refused(tmp_path: Path, source: str) -> None:
    folder = folder_of(tmp_path / "rules", seed="raise SystemExit('it ran')")
    with pytest.raises(ConfigError, match=r"recommender.rules_dir: got .* only your own file or command line"):
        recommend(document(source, recommender__rules_dir=str(folder)), SMALL)


@pytest.mark.parametrize("source", ["file run.json", "command line", "environment SFT_TRAINER_CONFIG", "argument"])
def test_a_folder_in_what_the_user_wrote_is_taken(tmp_path: Path, source: str) -> None:
    folder = folder_of(tmp_path / "rules", seed=SEED)
    (loaded,) = rules_of(document(source, recommender__rules_dir=str(folder)))
    assert loaded.name == "Custom_Seed"


def test_the_files_come_in_the_order_of_their_names_and_the_classes_in_that_of_the_file(tmp_path: Path) -> None:
    two = rule("return None", "Custom_Z") + rule("return None", "Custom_A")
    folder = folder_of(tmp_path / "rules", b=rule("return None", "Custom_B"), a=two)
    assert [loaded.name for loaded in load_rules_dir(folder)] == ["Custom_Z", "Custom_A", "Custom_B"]


def test_only_rules_of_the_folders_own_files_count(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rules", seed=SEED, other="class Custom_NoRule: pass\n" + rule("return 1", "Mine"))
    folder_of(folder / "inner", deeper=rule("return None", "Custom_Deeper"))
    (folder / ".hidden.py").write_text("raise ValueError")
    (folder / "notes.txt").write_text("no Python")
    (folder / "folder.py").mkdir()
    assert [loaded.name for loaded in load_rules_dir(folder)] == ["Custom_Seed"]


def test_a_link_that_leads_out_of_the_folder_is_refused_unread(tmp_path: Path) -> None:
    outside = folder_of(tmp_path / "outside", seed="raise SystemExit('it ran')")
    folder = folder_of(tmp_path / "rules", own=SEED)
    (folder / "seed.py").symlink_to(outside / "seed.py")
    with pytest.raises(UserError, match=r"seed.py is a link that leads out of the folder"):
        load_rules_dir(folder)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rules", own=SEED)
    (folder / "a.py").symlink_to(folder / "b.py")
    (folder / "b.py").symlink_to(folder / "a.py")
    with pytest.raises(UserError, match=r"a.py cannot be read"):
        load_rules_dir(folder)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rules", own=SEED)
    os.mkfifo(folder / "pipe.py")
    with pytest.raises(UserError, match=r"pipe.py cannot be read: it is no plain file"):
        load_rules_dir(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def broken(:\n", r"broken.py, line 5: invalid syntax"),
        ("import no_such_package\n", r"broken.py, line 5: ModuleNotFoundError: No module named 'no_such_package'"),
        ("\n\nraise SystemExit(3)\n", r"broken.py, line 7: SystemExit: 3"),
        (
            "class Custom_Made(Action):\n    def __init__(self):\n        self.x = 1 / 0\n",
            r"broken.py, line 7: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        load_rules_dir(folder_of(tmp_path / "rules", broken=text))
    assert str(caught.value).startswith("recommender.rules_dir: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"x = 1\x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = folder_of(tmp_path / "rules")
    (folder / "binary.py").write_bytes(content)
    with pytest.raises(UserError, match=r"binary.py"):
        load_rules_dir(folder)


def test_a_folder_that_is_not_there_or_holds_no_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory"):
        load_rules_dir(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no class that is named Custom_"):
        load_rules_dir(folder_of(tmp_path / "rules", empty="class Mine(Action): pass\n"))


def test_a_rule_may_add_keys_of_another_program(tmp_path: Path) -> None:
    body = 'return suggest({"trainer_of_mine.wings": 2, "brand_new_argument": 1}, "", Kind.MODEL_QUALITY, "")'
    final, _ = RuleEngine(load_rules_dir(folder_of(tmp_path / "rules", mine=rule(body)))).run(IR(), SMALL)
    assert final.values == {"trainer_of_mine": {"wings": 2}, "brand_new_argument": 1}


def test_classes_that_are_nearly_rules_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nearly = "class Custom_Nearly:\n    pass\n\nclass Mine(Action):\n    pass\n"
    assert len(load_rules_dir(folder_of(tmp_path / "rules", seed=SEED, nearly=nearly))) == 1
    assert "Custom_Nearly is no rule" in caplog.text and "Mine is no rule" in caplog.text


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rules", a=SEED, b=SEED)
    with pytest.raises(UserError, match="2 rules are called Custom_Seed"):
        recommend(document(recommender__rules_dir=str(folder)), SMALL)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return 1 / 0", "line 8.* failed: ZeroDivisionError: division by zero"),
        ("return 7", "failed: TypeError: expected a Recommendation or None, got int"),
        ('return suggest({"training.seed": {1}}, "A set.", Kind.MODEL_QUALITY, "")', "failed: TypeError: .*not JSON"),
        (
            'return suggest({"training.learning_rate": "abc"}, "", Kind.MODEL_QUALITY, "")',
            "training.learning_rate: got 'abc'; expected a number",
        ),
        (
            'return suggest({"learning_rat": 1}, "", Kind.MODEL_QUALITY, "")',
            "learning_rat: there is no such field. Did",
        ),
        ('return suggest({"training.bogus": 1}, "", Kind.MODEL_QUALITY, "")', "training.bogus: there is no such field"),
        ('return suggest({"a.b": float("nan")}, "NaN.", Kind.MODEL_QUALITY, "")', "failed: ValueError: .*JSON"),
    ],
)
def test_a_rule_that_fails_ends_the_run_with_one_message_that_names_it(tmp_path: Path, body: str, told: str) -> None:
    rules = load_rules_dir(folder_of(tmp_path / "rules", mine=rule(body)))
    with pytest.raises(UserError, match=rf"rule Custom_Mine \(.*mine.py.*{told}") as caught:
        RuleEngine(rules).run(document(training__seed=1), SMALL)
    assert caught.value.exit_code == 1


def test_a_rule_that_changes_the_document_it_is_shown_changes_nothing(tmp_path: Path) -> None:
    rules = load_rules_dir(folder_of(tmp_path / "rules", mine=rule('ir.values["training"]["seed"] = 99')))
    original = document(training__seed=1)
    assert RuleEngine(rules).run(original, SMALL) == (original, [])
    assert original.values == {"training": {"seed": 1}}


def test_a_file_may_use_dataclasses_and_shadows_no_module(tmp_path: Path) -> None:
    text = '@dataclass\nclass Limit:\n    most: "int" = 3\n' + rule(
        'return suggest({"training.seed": Limit().most}, "", Kind.MODEL_QUALITY, "")'
    )
    rules = load_rules_dir(folder_of(tmp_path / "rules", json=text))
    assert RuleEngine(rules).run(IR(), SMALL)[0].get("training.seed") == 3
    assert Path(str(sys.modules["json"].__file__)).parent.name == "json"


def test_nothing_is_written_beside_the_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rules", seed=SEED)
    load_rules_dir(folder)
    assert [path.name for path in folder.iterdir()] == ["seed.py"]


def test_the_example_rule_adds_noise_where_there_are_few_rows(project_root: Path) -> None:
    rules = load_rules_dir(project_root / "examples" / "rules")
    final, (made,) = RuleEngine(rules).run(IR(), FEW_ROWS)
    assert (final.get("training.neftune_noise_alpha"), made.action) == (5.0, "Custom_Neftune")
    assert RuleEngine(rules).run(IR(), SMALL)[1] == []
    assert RuleEngine(rules).run(document(model__train_from_scratch=True), FEW_ROWS)[1] == []


def test_what_the_user_set_stays_with_the_example_rule_too(project_root: Path) -> None:
    rules = load_rules_dir(project_root / "examples" / "rules")
    original = document(training__neftune_noise_alpha=1.0)
    final, (made,) = RuleEngine(rules).run(original, FEW_ROWS)
    assert final == original
    assert "user 1.0, suggested 5.0" in str(made.declined[0])
