"""Malformed configurations, models and data, written on the spot, and what is to come of each."""

from __future__ import annotations

from malformed import ROW, Case, config, field, looped, model, rows, shape, weights, words

COMPLETED = "completed"
"""Stands in the place of a message where a case is not refused but completed."""

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
CYCLE = "metadata: &m\n  inner: *m\n"
SHELL = "'; touch pwned; $(touch pwned) `touch pwned` \n|&"


CONFIGS: dict[str, Case] = {
    "text for a number": Case("learning_rate: got 'fast'", *field(learning_rate="fast")),
    "a list for a number": Case("learning_rate: got [1]", *field(learning_rate=[1])),
    "an object for a number": Case("training.learning_rate", *field(learning_rate={"a": {"b": 1}})),
    "true for a number": Case("max_steps: got True", *field(max_steps=True)),
    "a number for a list of files": Case("training_data_path: got 7", *field(training_data_path=7)),
    "a negative size": Case("per_device_train_batch_size: got -1", *field(per_device_train_batch_size=-1)),
    "a number beyond floats": Case("learning_rate: got inf", *config('{"learning_rate": 1e999}')),
    "a number of 5,000 digits": Case(
        "bad.json: the document cannot be read", *config('{"max_steps": 1' + "0" * 5000 + "}")
    ),
    "a number of 400 digits": Case("training.learning_rate", *config('{"learning_rate": 1' + "0" * 400 + "}")),
    "steps of 400 digits": Case("too large to be worked with", *field(max_steps=10**400)),
    "a length of 400 digits": Case("too large to be worked with", *field(max_length=10**400)),
    "a rank of 400 digits": Case(
        "too large to be worked with", *field(peft_method="lora", train_from_scratch=False, r=10**400)
    ),
    "a batch of 400 digits": Case("too large to be worked with", *field(per_device_train_batch_size=10**400)),
    "epochs beyond counting": Case("too large to be worked with", *field(num_train_epochs=1e308)),
    "steps next to nothing": Case(COMPLETED, *field(logging_steps=5e-324, eval_steps=5e-324, save_steps=5e-324)),
    "NaN in JSON": Case("JSON has no such number", *config('{"learning_rate": NaN}')),
    "NaN in YAML": Case("the number is not finite", *config("learning_rate: .nan", "bad.yaml")),
    "Infinity on the command line": Case("learning_rate: got 'Infinity'", *words("learning_rate=Infinity")),
    "an anchor in a circle": Case("aliases are cyclic", *config(CYCLE, "bad.yaml")),
    "a billion laughs": Case("aliases are cyclic or multiply", *config(LAUGHS, "bad.yaml")),
    "deep JSON": Case("bad.json: the document cannot be read", *config("[" * 100_000)),
    "deep JSON objects": Case("the document cannot be read", *config('{"metadata":' * 50_000 + "1" + "}" * 50_000)),
    "deep metadata": Case(
        "metadata: nested more than 100 levels deep", *config('{"metadata":' + '{"a":' * 900 + "1" + "}" * 901)
    ),
    "a deep value of no field": Case("there is no such field", *config('{"nope": ' + '{"a":' * 900 + "1" + "}" * 901)),
    "deep YAML": Case("the document cannot be read", *config("[" * 20_000, "bad.yaml")),
    "deep YAML blocks": Case(
        "the document cannot be read", *config("".join(" " * n + "a:\n" for n in range(2000)), "bad.yaml")
    ),
    "deep JSON on the command line": Case("metadata: got", *words("metadata=" + "[" * 100_000)),
    "a deep list on the command line": Case("metadata: nested more", *words(f"metadata={'[' * 500}1{']' * 500}")),
    "a key of 5,000 parts": Case("nested more than 100", *words("metadata." + "a." * 5000 + "a=1")),
    "a key twice in JSON": Case("the key stands twice", *config('{"seed": 1, "seed": 2}')),
    "a key twice in YAML": Case("the key stands twice", *config("seed: 1\nseed: 2\n", "bad.yaml")),
    "a binary file": Case("is not UTF-8", *config(bytes(range(256)))),
    "null bytes": Case("the document cannot be read", *config(b"\x00" * 64, "bad.yaml")),
    "UTF-16": Case("is not UTF-8", *config('{"seed": 1}'.encode("utf-16"))),
    "an empty file": Case("bad.json: the document cannot be read", *config("")),
    "a list": Case("expected an object", *config("[1, 2]")),
    "a Python object": Case(
        "the document cannot be read", *config('a: !!python/object/apply:os.system ["touch pwned"]', "bad.yaml")
    ),
    "keys that are no text": Case("there is no such field", *config("1: 2\n~: 6\n", "bad.yaml")),
    "keys that are lists": Case("found unhashable key", *config("? [3, 4]\n: 5\n", "bad.yaml")),
    "a number for a section": Case("expected an object of the section's fields", *config('{"training": 5}')),
    "a section in a section": Case("training.model", *config('{"training": {"model": {"dtype": "float32"}}}')),
    "a lone surrogate": Case("run_name", *config('{"run_name": "\\ud800"}')),
    "links in a circle": Case("cannot be read: Too many levels", ("loop.json",), looped),
    "a folder": Case("cannot be read: Is a directory", ("model",)),
    "two files": Case("one configuration file is read", ("run.json", "run.json")),
    "shell characters": Case(COMPLETED, *field(output_dir=SHELL, run_name=SHELL, metadata={SHELL: SHELL})),
    "shell characters for a model": Case(COMPLETED, *field(model_name_or_path=SHELL)),
    "more GPUs than there can be": Case("num_gpus_per_node", *words("gpus=1000000000000")),
    "more processes than there can be": Case("compute.num_processes", *words("num_processes=1000000000000")),
    "history that is not there": Case("recommender.history", *words("history=missing")),
    "rules that are not there": Case("recommender.rules_dir", *words("rules_dir=missing")),
    "a template that counts for ever": Case(COMPLETED, *words("chat_template={{ range(10 ** 9) | list }}")),
    "a template that looks around": Case(COMPLETED, *words("data_formatter_template={{ ''.__class__.__mro__ }}")),
    "a template that is none": Case("data_formatter_template", *words("data_formatter_template={{ }")),
}

MODELS: dict[str, Case] = {
    "sizes of other types": Case(COMPLETED, *shape(hidden_size="big", num_hidden_layers=[2], vocab_size={})),
    "negative sizes": Case(COMPLETED, *shape(hidden_size=-64, num_attention_heads=-4)),
    "sizes of 60 digits": Case(COMPLETED, *shape(hidden_size=10**60, vocab_size=10**60, num_hidden_layers=10**60)),
    "sizes of 400 digits": Case(COMPLETED, *shape(hidden_size=10**400, num_hidden_layers=10**400)),
    "more heads than width": Case(COMPLETED, *shape(num_attention_heads=10**9, head_dim=None)),
    "positions of 400 digits": Case(COMPLETED, *shape(max_position_embeddings=10**400)),
    "names of other types": Case(COMPLETED, *shape(model_type={"a": 1}, dtype=[], architectures=7, text_config=[1])),
    "a quantization of another type": Case(COMPLETED, *shape(quantization_config={"quant_method": {"a": []}})),
    "a shape that is a list": Case(COMPLETED, *model("config.json", "[]")),
    "a shape that is torn": Case(COMPLETED, *model("config.json", '{"model_type": "lla')),
    "a shape that is deep": Case(COMPLETED, *model("config.json", '{"a":' * 50_000)),
    "a shape that is binary": Case(COMPLETED, *model("config.json", bytes(range(256)))),
    "a header beyond the file": Case(COMPLETED, *model("model.safetensors", weights(b"{}", 1 << 40))),
    "a header of 2^63 bytes": Case(COMPLETED, *model("model.safetensors", weights(b"{}", 1 << 63))),
    "weights of no bytes": Case(COMPLETED, *model("model.safetensors", b"")),
    "a header that is no object": Case(COMPLETED, *model("model.safetensors", weights(b"[[1]]"))),
    "a header that is deep": Case(COMPLETED, *model("model.safetensors", weights(b'{"a":' * 50_000))),
    "shapes of other types": Case(COMPLETED, *model("model.safetensors", weights(b'{"a": {"shape": ["x", -3]}}'))),
    "negative shapes": Case(COMPLETED, *model("model.safetensors", weights(b'{"a": {"shape": [-3, 5]}}'))),
    "shapes of 60 digits": Case(
        COMPLETED, *model("model.safetensors", weights(b'{"a": {"shape": [1' + b"0" * 400 + b"]}}"))
    ),
    "an index out of the folder": Case(
        COMPLETED, *model("model.safetensors.index.json", '{"weight_map": {"a": "../../../../etc/passwd"}}')
    ),
    "a tokenizer that is garbage": Case(COMPLETED, *model("tokenizer.json", bytes(range(256)))),
    "a tokenizer of other types": Case(COMPLETED, *model("tokenizer.json", '{"model": {"type": "BPE", "vocab": 7}}')),
    "a tokenizer that is deep": Case(COMPLETED, *model("tokenizer.json", "[" * 100_000)),
    "a tokenizer's words of other types": Case(
        COMPLETED, *model("tokenizer_config.json", '{"chat_template": 7, "eos_token": [], "pad_token": {"content": 3}}')
    ),
    "a tokenizer's words in a list": Case(COMPLETED, *model("tokenizer_config.json", '[{"chat_template": "x"}]')),
    "templates of other types": Case(
        COMPLETED, *model("tokenizer_config.json", '{"chat_template": [1, {"name": []}]}')
    ),
    "a template that is none": Case(COMPLETED, *model("chat_template.jinja", "{% for %}")),
    "a template that counts for ever": Case(COMPLETED, *model("chat_template.jinja", "{{ range(10 ** 9) | list }}")),
    "a template that divides by nothing": Case(COMPLETED, *model("chat_template.jinja", "{{ 1 / 0 }}")),
    "a template that is binary": Case(COMPLETED, *model("chat_template.jinja", bytes(range(256)))),
    "a template that calls itself": Case(
        COMPLETED, *model("chat_template.jinja", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")
    ),
    "a null byte in its name": Case(COMPLETED, *field(model_name_or_path="mod\0el")),
    "a name of 5,000 characters": Case(COMPLETED, *field(model_name_or_path="./" + "m" * 5000)),
}

CHAT = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "%s"}]}\n'

DATA: dict[str, Case] = {
    "no rows": Case(COMPLETED, *rows("")),
    "lines of nothing": Case(COMPLETED, *rows("\n\n \n")),
    "binary rows": Case("rows.jsonl", *rows(bytes(range(256)))),
    "rows that are lists": Case("rows.jsonl", *rows("[1, 2]\n[3]\n")),
    "rows of no known kind": Case("no format fits the columns", *rows('{"x": 1}\n')),
    "a lone surrogate": Case(COMPLETED, *rows(ROW + '{"prompt": "\\ud800", "completion": "b"}\n')),
    "a lone surrogate in a message": Case(COMPLETED, *rows((CHAT % "fine") + (CHAT % "\\ud800"))),
    "a lone surrogate in a role": Case(
        COMPLETED, *rows((CHAT % "fine") + (CHAT % "fine").replace('"user"', '"\\ud800"'))
    ),
    "a torn row": Case(COMPLETED, *rows(ROW * 3 + '{"prompt": "a", "comp')),
    "a deep row": Case(COMPLETED, *rows(ROW + '{"prompt":' * 50_000 + "\n")),
    "a number of 5,000 digits": Case(COMPLETED, *rows(ROW + '{"prompt": 1' + "0" * 5000 + ', "completion": "b"}\n')),
    "a first row that is torn": Case("rows.jsonl", *rows('{"prompt": "a", "comp\n' + ROW)),
    "values of other types": Case(COMPLETED, *rows(ROW + '{"prompt": {"a": []}, "completion": [null, 1e999]}\n')),
    "a document that is no list": Case("rows.json", *rows("7", "rows.json")),
    "a table that is none": Case("rows.parquet", *rows(b"PAR1 no", "rows.parquet")),
    "a null byte in its name": Case("training_data_path", *field(training_data_path="ro\0ws.jsonl")),
    "a name of 5,000 characters": Case("training_data_path", *field(training_data_path="r" * 5000 + ".jsonl")),
    "a device": Case("training_data_path", *words("training_data_path=/dev/zero")),
    "a folder without rows": Case("training_data_path", *words("training_data_path=model/inner")),
    "links in a circle": Case("loop.json", ("run.json", "training_data_path=loop.json"), looped),
    "a pattern that is none": Case("training_data_path", *words("training_data_path=[!*.jsonl")),
    "a share of nothing": Case(COMPLETED, *words("validation_fraction=5e-324")),
}

ALL = {
    f"{about}: {name}": case
    for about, cases in (("config", CONFIGS), ("model", MODELS), ("data", DATA))
    for name, case in cases.items()
}
