"""`tune generate`: have a saved model or adapter go on from prompts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tuning.config.schema import TuningConfig
from tuning.data.conversations import tools_of
from tuning.data.sources import Row, Skipped, read_rows
from tuning.data.templates import render_chat
from tuning.errors import EXIT_SUCCESS, ConfigError, DataError, UserError
from tuning.evaluation.answer_length import positions_before_loading, positions_of, room_for_prompt, tell_cut_prompts
from tuning.evaluation.generation import Decoding, generate
from tuning.recommender.cli import exit_code_of

_DESCRIPTION = """Have a saved model, or an adapter with the base that it names, go on from prompts. Without
--temperature the most likely token is taken each time. Exit codes: 0; 1 for something in the input that you can mend;
203 for a fault of ours."""
_LENGTH_FLAG = "--max-new-tokens"
_TEXT_FILES = (".txt", ".text")


class _Prompt(NamedTuple):
    """A text, or messages, and the tools that the model may call."""

    text: Any
    tools: Any = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"tune generate: {message}; see tune generate --help")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, 1 the user's input, 203 fault."""
    if not argv:
        _parser().print_help()
        return EXIT_SUCCESS
    return exit_code_of(_generate, argv)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("tune generate", description=_DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help="folder or Hub id of a model, or folder of an adapter")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompt", action="append", help="text to go on from; may be given more than once")
    source.add_argument("--file", help="prompts: a .txt file, one a line, or rows with prompt or messages")
    parser.add_argument("--chat", action="store_true", help="a prompt is what a user says: the chat template is used")
    parser.add_argument(_LENGTH_FLAG, type=_count, default=256, help="longest text, tokens (default 256)")
    parser.add_argument("--temperature", type=_temperature, default=0.0, help="above 0: draw tokens at random")
    parser.add_argument("--num-return-sequences", type=_count, default=1, help="texts for each prompt (default 1)")
    parser.add_argument("--batch-size", type=_count, default=8, help="prompts at a time (default 8)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the draws (default 42)")
    parser.add_argument("--base", help="base of an adapter, where it is not where adapter_config.json says")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--output", type=Path, help="write JSON lines of prompt and texts to this file")
    return parser


def _generate(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    if args.num_return_sequences > 1 and args.temperature == 0:
        raise UserError("--num-return-sequences: several texts need --temperature above 0; else they are all the same")
    prompts = list(_prompts(args.prompt, args.file))
    if args.output is not None and not args.output.expanduser().absolute().parent.is_dir():
        raise UserError(f"--output: there is no folder {args.output.expanduser().absolute().parent}")
    model, tokenizer = _load(args.model, args.base, args.dtype, args.max_new_tokens)
    ids = [_ids(prompt, tokenizer, args.chat) for prompt in prompts]
    tell_cut_prompts(ids, room_for_prompt(positions_of(model.config), args.max_new_tokens, _LENGTH_FLAG))
    decoding = Decoding(args.max_new_tokens, args.batch_size, args.temperature, args.num_return_sequences)
    _seed(args.seed)
    if len(prompts) == 1 and args.num_return_sequences == 1 and args.output is None:
        generate(model, tokenizer, ids, decoding, _streamer(tokenizer))
        return EXIT_SUCCESS
    _tell(prompts, generate(model, tokenizer, ids, decoding), args.output)
    return EXIT_SUCCESS


def _prompts(given: Sequence[str] | None, file: str | None) -> Iterator[_Prompt]:
    """Yield what to go on from.

    Raises:
        UserError: the file cannot be read, or a row has no prompt.
    """
    if given is not None:
        yield from map(_Prompt, given)
        return
    path = Path(str(file)).expanduser()
    found = list(map(_Prompt, _lines(path)) if path.suffix.lower() in _TEXT_FILES else _of_rows(str(path)))
    if not found:
        raise UserError(f"--file: {path} holds no prompts")
    yield from found


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--file: {path} cannot be read as UTF-8 text: {error}") from error
    return (line for line in text.splitlines() if line.strip())


def _of_rows(path: str) -> Iterator[_Prompt]:
    try:
        yield from map(_prompt_of, read_rows([path]))
    except DataError as error:
        told = str(error) if path in str(error) else f"{path}: {error}"
        raise UserError(f"--file: {told}") from error


def _prompt_of(row: Row | Skipped) -> _Prompt:
    if isinstance(row, Skipped):
        raise DataError(f"{row.place}: {row.reason}")
    values = row.values
    prompt = values.get("messages") if values.get("messages") is not None else values.get("prompt")
    if not isinstance(prompt, str) and not (isinstance(prompt, list) and prompt and all(map(_is_message, prompt))):
        raise DataError(f"{row.place}: expected prompt, a text, or messages; it has: {', '.join(values)}")
    try:
        return _Prompt(prompt, tools_of(values).get("tools"))
    except DataError as error:
        raise DataError(f"{row.place}: {error}") from error


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str)


def _load(name: str, base: str | None, dtype: str, max_new_tokens: int) -> tuple[Any, Any]:
    from tuning import console
    from tuning.config.sections import Model
    from tuning.model import missing_on_the_hub, unusable_model
    from tuning.saved_model import find_model, load_saved

    console.set_up_logging()
    found = find_model(name, base)
    config = TuningConfig(model=Model.model_validate({**found.settings(), "dtype": dtype}))
    if problems := list(unusable_model(config)) or list(missing_on_the_hub(config)):
        raise ConfigError(problems)
    room_for_prompt(positions_before_loading(config.model), max_new_tokens, _LENGTH_FLAG)
    console.hide_progress_bars()
    model, tokenizer = load_saved(config, found.adapter)
    return model.to(_device()), tokenizer


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _seed(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)


def _ids(prompt: _Prompt, tokenizer: Any, chat: bool) -> list[int]:
    """Turn a prompt into tokens: a text with the tokenizer's own start, a conversation by the chat template.

    Raises:
        UserError: it has no tokens, or the chat template refuses it.
    """
    text, tools = prompt
    if isinstance(text, str) and not chat:
        ids = tokenizer(text)["input_ids"]
    else:
        messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
        names = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        template = tokenizer.get_chat_template()
        rendered = render_chat(template, messages, add_generation_prompt=True, tools=tools, **names)
        ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UserError("--prompt: is empty")
    return ids


def _streamer(tokenizer: Any) -> Any:
    from transformers import TextStreamer

    return TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)


def _tell(prompts: Sequence[_Prompt], texts: Sequence[Sequence[str]], output: Path | None) -> None:
    lines = (
        json.dumps({"prompt": prompt.text, "texts": list(found)}, ensure_ascii=False)
        for prompt, found in zip(prompts, texts, strict=True)
    )
    if output is None:
        for line in lines:
            print(line)
        return
    try:
        output.expanduser().write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror or error}") from error
    print(f"Written: {output}", file=sys.stderr)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, at least 1; got '{text}'")
    return number


def _temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1000:
        raise argparse.ArgumentTypeError(f"expected a number, at least 0; got '{text}'")
    return number
