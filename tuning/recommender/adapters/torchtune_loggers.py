"""torchtune's logger: one of a few trackers, or none."""

from __future__ import annotations

from tuning.recommender.adapters.mapping import Reading, Writing

_LOGGERS = {"WandBLogger": "wandb", "TensorBoardLogger": "tensorboard", "MLFlowLogger": "mlflow"}
_LOGGING = "torchtune.training.metric_logging."
_OF_LOGGERS = {
    "wandb": {"project": "tracking.wandb_project", "entity": "tracking.wandb_entity", "name": "tracking.run_name"},
    "tensorboard": {"log_dir": "tracking.tensorboard_dir"},
    "mlflow": {"tracking_uri": "tracking.mlflow_tracking_uri", "experiment_name": "tracking.mlflow_experiment"},
}


def read_logger(reading: Reading) -> None:
    """Read the one tracker off the logger; loggers to a file or the screen are what every run here has."""
    component = reading.take("metric_logger._component_")
    if component is None:
        return
    tracker = _LOGGERS.get(str(component).rpartition(".")[2])
    if tracker is None:
        for key in ("_component_", "log_dir", "filename"):
            reading.left.get("metric_logger", {}).pop(key, None)
        if not str(component).endswith(("DiskLogger", "StdoutLogger")):
            reading.skip("metric_logger._component_", component, f"there are {', '.join(_LOGGERS.values())}")
        return
    reading.put("tracking.trackers", [tracker], "metric_logger._component_")
    for key, path in _OF_LOGGERS[tracker].items():
        if (value := reading.take(f"metric_logger.{key}")) is not None:
            reading.put(path, value, f"metric_logger.{key}")


def write_logger(writing: Writing) -> None:
    """Write the one tracker as a logger."""
    names, loggers = writing.take("tracking.trackers"), {tracker: name for name, tracker in _LOGGERS.items()}
    if names is None:
        return
    if len(names) != 1 or names[0] not in loggers:
        why = f"torchtune has one logger, of {', '.join(loggers)}"
        writing.skip("tracking.trackers", names, why)
        return
    writing.put("metric_logger._component_", f"{_LOGGING}{loggers[names[0]]}")
    for key, path in _OF_LOGGERS[names[0]].items():
        if (value := writing.take(path)) is not None:
            writing.put(f"metric_logger.{key}", value)
