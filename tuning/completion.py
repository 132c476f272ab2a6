"""`tune completion SHELL`: have a shell complete commands, recipes, configs, keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuning.errors import EXIT_SUCCESS, UserError
from tuning.launch.flags import LAUNCH_FLAGS
from tuning.registry import did_you_mean

USAGE = """usage: tune completion bash|zsh|fish

Print what has a shell complete tune's words with the TAB key: commands, recipes, configs, keys, values.

  bash  eval "$(tune completion bash)"          in ~/.bashrc
  zsh   eval "$(tune completion zsh)"           in ~/.zshrc, after compinit
  fish  tune completion fish > ~/.config/fish/completions/tune.fish
"""

_BASH = r"""_tune() {
    local line="${COMP_LINE:0:COMP_POINT}" last found
    last="${line##* }"
    COMPREPLY=()
    while IFS= read -r found; do
        # bash takes what stands after = for a word of its own
        [[ $last == *=* ]] && found="${found#"${last%%=*}="}"
        COMPREPLY+=("$found")
    done < <("${COMP_WORDS[0]}" completion --line "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}
complete -o default -F _tune tune
"""
_ZSH = r"""_tune() {
    local -a found
    found=("${(@f)$($words[1] completion --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( $#found )); then
        compadd -Q -S '' -- ${(M)found:#*=}
        compadd -Q -- ${found:#*=}
    else
        _files
    fi
}
compdef _tune tune
"""
_FISH = r"""complete -c tune -a '(tune completion --line (commandline -cp) 2>/dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_TAKE_KEYS = frozenset({"run", "validate", "recommend", "plan", "preview", "preprocess", "evaluate"})
_TAKE_CONFIGS = frozenset({"cat", "cp"})


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return EXIT_SUCCESS
    if argv[0] == "--line":
        print("\n".join(candidates(argv[1] if len(argv) > 1 else "")))
        return EXIT_SUCCESS
    if argv[0] not in SCRIPTS or len(argv) > 1:
        raise UserError(f"tune completion: expected bash, zsh or fish. {did_you_mean(argv[-1], list(SCRIPTS))}")
    print(SCRIPTS[argv[0]], end="")
    return EXIT_SUCCESS


def candidates(line: str) -> list[str]:
    """List the words that may end a line; nothing where a file's name is expected."""
    words = line.split(" ")
    before, last = [word for word in words[1:-1] if word], words[-1]
    return sorted(word for word in _possible(before, last) if word.startswith(last) and word != last)


def _possible(before: Sequence[str], last: str) -> Iterable[str]:
    from tuning.cli import COMMANDS
    from tuning.recipes import RECIPES

    commands, recipes = [command.name for command in COMMANDS], RECIPES.names()
    if not before:
        return [*commands, *recipes]
    first = before[0]
    if before[-1] == "--config" or (first in _TAKE_CONFIGS and len(before) == 1):
        return _configs(first if first in recipes else None)
    if first == "completion":
        return SCRIPTS
    if first == "ls":
        return recipes
    is_run = first in recipes or first.endswith(".py")
    if not is_run and first not in _TAKE_KEYS:
        return []
    flags = ["--config", "--override", *(LAUNCH_FLAGS if is_run else ())]
    return [*flags, *_settings(last)]


def _configs(recipe: str | None) -> list[str]:
    from tuning.config.shipped import named_configs

    return [config.name for config in named_configs(recipe)]


def _settings(last: str) -> list[str]:
    """List keys, each with its `=`; of a key that is written already, the values that it can have."""
    from tuning.config.command_line import annotation_of
    from tuning.config.names import field_paths, path_of
    from tuning.config.types import choices

    key, has_value, _ = last.partition("=")
    if not has_value:
        names = field_paths()
        return [f"{name}=" for name in (names.values() if "." in last else names)]
    annotation = annotation_of(path_of(key) or "")
    words = choices(annotation) or (["true", "false"] if "bool" in str(annotation) else [])
    return [f"{key}={word}" for word in words]
