"""How much of a GPU's arithmetic a training uses: model FLOPs utilization, from the shape and the token rate."""

from __future__ import annotations

from benchmarks.scenarios import Scenario

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
"""Dense bfloat16 operations per second of the boards with SXM sockets, L40S aside. Source: NVIDIA's data sheets."""


def flops_per_token(scenario: Scenario, mean_length: float) -> float:
    """Count multiplications and additions that a token of a row of this length cannot do without.

    Two for each weight forwards, two for the gradient of the input, two for that of the weight, which adapters spare;
    attention sees half of the row on average. Recomputing for checkpointing counts as nothing gained.
    """
    shape = scenario.shape
    hidden, layers = shape["hidden_size"], shape["num_hidden_layers"]
    head_dim = shape.get("head_dim") or hidden // shape["num_attention_heads"]
    heads, kv_heads = shape["num_attention_heads"], shape.get("num_key_value_heads") or shape["num_attention_heads"]
    attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
    weights = layers * (attention + 3 * hidden * shape["intermediate_size"]) + hidden * shape["vocab_size"]
    passes = 3 if scenario.method == "full" else 2
    scores = 2 * layers * heads * head_dim * mean_length  # queries times keys and weights times values, half of each
    return 2 * passes * weights + 3 * scores


def model_flops_utilization(scenario: Scenario, tokens_per_second: float, mean_length: float, gpu: str) -> float | None:
    """Return the share of a GPU's peak that is used, 0 to 1; None for a GPU whose peak is not known."""
    peak = next((flops for name, flops in PEAK_FLOPS.items() if name in gpu), None)
    return None if peak is None else tokens_per_second * flops_per_token(scenario, mean_length) / peak
