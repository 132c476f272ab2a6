"""A rule of one's own: NEFTune's noise on the embeddings where there are few rows."""

from __future__ import annotations

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts

MOST_ROWS = 1_000
ALPHA = 5.0


class Custom_Neftune(Action):
    """A little noise on the embeddings, which keeps a model from learning a few rows by heart."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Speak up where all weights or adapters are tuned on few rows; random weights learn enough noise."""
        rows = facts.data.num_rows if facts.data is not None else None
        if rows is None or rows > MOST_ROWS or ir.get("model.train_from_scratch") is True:
            return None
        comment = f"With {rows:,} rows, noise on the embeddings keeps the model from learning them by heart."
        source = "Jain et al., arXiv 2310.05914: alpha 5 on 52,000 rows; for fewer rows it is our own choice"
        return suggest({"training.neftune_noise_alpha": ALPHA}, comment, Kind.MODEL_QUALITY, source)
