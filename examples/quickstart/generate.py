"""Write the quickstart's rows, its tokenizer and its model configuration; always the same bytes.

Run it from the root of the project: `python examples/quickstart/generate.py`. It needs only the `tokenizers` package.
The rows are small made-up tasks whose answers can be worked out from the question, so that a model of two million
parameters has something to learn in a minute. Nothing in them is taken from another data set.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 20
NUM_TRAIN_ROWS = 1200
NUM_VALIDATION_ROWS = 120
VOCAB_SIZE = 2000
MAX_POSITION_EMBEDDINGS = 512
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]

FRAME = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n{output}"
"""How the project writes an instruction row as text; the tokenizer should not need a token per letter for it."""

Row = dict[str, str]
Task = Callable[[random.Random], Row]


def words(text: str) -> list[str]:
    """Split a text at its spaces."""
    return text.split()


NAMES = words("Ada Bruno Clara Dmitri Elif Farid Grace Hana Ivo Jonas Kemi Lucia Mara Nils Olga Priya Quentin Rosa")
PLACES = words("bakery library museum pharmacy market theatre café bookshop")
COLOURS = words("red blue green yellow purple orange black white brown pink grey turquoise")
THINGS = words("kettle bicycle scarf lantern umbrella notebook guitar basket mirror ladder clock blanket teapot kite")
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
WORDS = words(
    "river garden stone winter silver paper bridge candle forest mountain harbour orchard island letter window "
    "summer copper valley feather meadow lighthouse thunder blossom anchor cotton pepper shadow marble compass"
)
CATEGORIES = {
    "fruit": words("apple pear plum cherry peach"),
    "animal": words("otter badger heron lynx falcon"),
    "tool": words("hammer chisel spanner saw drill"),
    "instrument": words("violin flute cello harp drum"),
}
OPPOSITES = {
    "hot": "cold",
    "early": "late",
    "empty": "full",
    "loud": "quiet",
    "heavy": "light",
    "narrow": "wide",
    "rough": "smooth",
    "shallow": "deep",
    "tall": "short",
    "wet": "dry",
}
PLURALS = {
    "box": "boxes",
    "city": "cities",
    "child": "children",
    "knife": "knives",
    "mouse": "mice",
    "story": "stories",
    "tooth": "teeth",
    "watch": "watches",
    "leaf": "leaves",
    "lamp": "lamps",
    "spoon": "spoons",
}
UNITS = {"kilometres": ("metres", 1000), "hours": ("minutes", 60), "kilograms": ("grams", 1000), "weeks": ("days", 7)}
DISHES = words("soup rice salad porridge lasagne curry couscous stew")


def row(instruction: str, context: str, output: str) -> Row:
    """Put one task into the three columns."""
    return {"instruction": instruction, "input": context, "output": output}


def reversed_words(rng: random.Random) -> Row:
    chosen = rng.sample(WORDS, rng.randint(3, 4))
    return row("Write the words in reverse order.", " ".join(chosen), " ".join(reversed(chosen)))


def sorted_words(rng: random.Random) -> Row:
    chosen = rng.sample(WORDS, 3)
    return row("Sort the words alphabetically.", ", ".join(chosen), ", ".join(sorted(chosen)))


def chosen_word(rng: random.Random) -> Row:
    chosen = rng.sample(WORDS, 4)
    position, word = rng.choice([("first", chosen[0]), ("last", chosen[-1])])
    return row(f"Which word comes {position}?", " ".join(chosen), f"The {position} word is {word}.")


def larger_number(rng: random.Random) -> Row:
    low, high = sorted(rng.sample(range(10, 1000), 2))
    shown = f"{low} and {high}" if rng.random() < 0.5 else f"{high} and {low}"
    return row("Which number is larger?", shown, f"{high} is larger than {low}.")


def named_colour(rng: random.Random) -> Row:
    name, colour, thing, place = rng.choice(NAMES), rng.choice(COLOURS), rng.choice(THINGS), rng.choice(PLACES)
    sentence = rng.choice(
        [
            f"{name} left a {colour} {thing} at the {place}.",
            f"At the {place}, {name} found a {colour} {thing}.",
            f"The {thing} that {name} bought near the {place} is {colour}.",
        ]
    )
    return row(f"What colour is the {thing}?", sentence, f"The {thing} is {colour}.")


def opening_hours(rng: random.Random) -> Row:
    place, day = rng.choice(PLACES), rng.choice(DAYS)
    opens, closes, asked = rng.randint(7, 11), rng.randint(15, 20), rng.randint(6, 21)
    answer = "Yes" if opens <= asked < closes else "No"
    context = f"On {day} the {place} opens at {opens}:00 and closes at {closes}:00."
    reason = f"it is open from {opens}:00 to {closes}:00"
    return row(f"Is the {place} open at {asked}:00 on {day}?", context, f"{answer}, {reason}.")


def converted_unit(rng: random.Random) -> Row:
    unit = rng.choice(sorted(UNITS))
    smaller, factor = UNITS[unit]
    amount = rng.randint(2, 40)
    return row(f"Convert to {smaller}.", f"{amount} {unit}", f"{amount * factor} {smaller}")


def next_day(rng: random.Random) -> Row:
    day, place = rng.randrange(7), rng.choice(PLACES)
    offset, word = rng.choice([(1, "after"), (-1, "before")])
    question = f"The {place} is closed the day {word} {DAYS[day]}. Which day is that?"
    return row(question, rng.choice(NAMES) + " asks.", f"That is {DAYS[(day + offset) % 7]}.")


def category(rng: random.Random) -> Row:
    kind = rng.choice(sorted(CATEGORIES))
    item, name = rng.choice(CATEGORIES[kind]), rng.choice(NAMES)
    return row("Animal, fruit, instrument or tool?", f"{name} drew this: {item}", kind)


def opposite(rng: random.Random) -> Row:
    word = rng.choice(sorted(OPPOSITES))
    context = rng.choice([f"{rng.choice(NAMES)} says: {word}", f"The {rng.choice(THINGS)} is not {word}."])
    return row("Give the opposite of the word.", context, OPPOSITES[word])


def plural(rng: random.Random) -> Row:
    noun, count = rng.choice(sorted(PLURALS)), rng.randint(2, 30)
    return row("Complete the shopping list.", f"1 {noun}; {count} …", PLURALS[noun])


def present_holder(rng: random.Random) -> Row:
    first, second, third = rng.sample(NAMES, 3)
    thing = rng.choice(THINGS)
    context = f"{first} lent the {thing} to {second}. Later {second} gave it to {third}."
    return row(f"Who has the {thing} now?", context, f"{third} has the {thing}.")


def order_as_json(rng: random.Random) -> Row:
    quantity, dish, table = rng.randint(1, 9), rng.choice(DISHES), rng.randint(1, 20)
    context = rng.choice(
        [
            f"Table {table} would like {quantity} portions of {dish}.",
            f"{quantity} portions of {dish} for table {table}.",
        ]
    )
    answer = json.dumps({"dish": dish, "quantity": quantity, "table": table})
    return row("Write the order as JSON.", context, answer)


def arrival(rng: random.Random) -> Row:
    hour, minute, length = rng.randint(6, 20), rng.randrange(0, 60, 5), rng.randrange(10, 60, 5)
    reached = hour * 60 + minute + length
    context = f"The train leaves at {hour}:{minute:02d} and needs {length} minutes."
    return row("When does the train arrive?", context, f"It arrives at {reached // 60}:{reached % 60:02d}.")


# Each task with its share of the rows: those that are learned in a minute come more often.
TASKS: dict[Task, int] = {
    category: 4,
    opposite: 4,
    plural: 4,
    next_day: 3,
    opening_hours: 2,
    larger_number: 2,
    named_colour: 2,
    present_holder: 2,
    order_as_json: 2,
    chosen_word: 1,
    converted_unit: 1,
    reversed_words: 1,
    sorted_words: 1,
    arrival: 1,
}


def distinct_rows(rng: random.Random) -> Iterator[Row]:
    """Yield rows for ever, no question twice."""
    seen: set[tuple[str, str]] = set()
    while True:
        (task,) = rng.choices(list(TASKS), weights=list(TASKS.values()))
        made = task(rng)
        question = (made["instruction"], made["input"])
        if question not in seen:
            seen.add(question)
            yield made


def train_tokenizer(rows: list[Row]) -> Tokenizer:
    """Train a byte-level BPE tokenizer on the rows; every text can be encoded and comes back unchanged."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    # One token per digit: sums and comparisons cannot be learned from tokens that each stand for a whole number.
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((FRAME.format_map(made) for made in rows), trainer)
    return tokenizer


def tokenizer_config() -> dict[str, Any]:
    """Describe the tokenizer; no chat template, so that the run has to add one where it needs one."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_POSITION_EMBEDDINGS,
        "clean_up_tokenization_spaces": False,
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
    }


def model_config(vocab_size: int) -> dict[str, Any]:
    """Describe a Llama of about two million parameters."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": MAX_POSITION_EMBEDDINGS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "dtype": "float32",
        "bos_token_id": SPECIAL_TOKENS.index("<s>"),
        "eos_token_id": SPECIAL_TOKENS.index("</s>"),
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
    }


def write_jsonl(path: Path, rows: list[Row]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(made, ensure_ascii=False) + "\n" for made in rows), encoding="utf-8")


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write one JSON object, indented."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def generate(folder: Path) -> None:
    """Write `train.jsonl`, `validation.jsonl` and `model/` into a folder."""
    made = distinct_rows(random.Random(SEED))
    train = [next(made) for _ in range(NUM_TRAIN_ROWS)]
    validation = [next(made) for _ in range(NUM_VALIDATION_ROWS)]
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "validation.jsonl", validation)
    tokenizer = train_tokenizer(train)
    tokenizer.save(str(model / "tokenizer.json"), pretty=False)
    write_json(model / "tokenizer_config.json", tokenizer_config())
    write_json(model / "config.json", model_config(tokenizer.get_vocab_size()))


def main() -> None:
    """Write the quickstart's files beside this script, or into the folder given."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    generate(parser.parse_args().folder)


if __name__ == "__main__":
    main()
