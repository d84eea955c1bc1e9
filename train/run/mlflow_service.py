"""MLflow, where it is installed; its own environment variables decide where runs go."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from train.run.endings import Ending
from train.run.services import About

# Where MLFLOW_EXPERIMENT_NAME and MLFLOW_EXPERIMENT_ID name none.
EXPERIMENT = "scarcedet"
# Of the service, for one request.
MOST_PARAMETERS = 100
STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# Every line of metrics has it.
ALWAYS_LOGGED = "total_loss"


class MLflow:
    """A run of MLflow, at MLFLOW_TRACKING_URI."""

    name = "mlflow"
    where = ""

    def open(self, about: About, run_id: str | None) -> str:
        # Reports of its use, and retries for a quarter of an hour.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient

        # It cuts long values short, and says so for each.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._client: Any = MlflowClient()
        if run_id is None:
            run = self._client.create_run(_experiment(self._client), run_name=about.folder.name)
            run_id = run.info.run_id
        else:
            self._client.update_run(run_id, status="RUNNING")
        self._id = str(run_id)
        self.where = f"run {run_id} at {self._client.tracking_uri}"
        history = self._client.get_metric_history(self._id, ALWAYS_LOGGED)
        self._next = max((metric.step for metric in history), default=-1) + 1
        self._log_parameters(about.parameters)
        return self._id

    def _log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Those that the run does not have yet: MLflow refuses to change one."""
        from mlflow.entities import Param

        known = self._client.get_run(self._id).data.params
        new = [Param(key, str(value)) for key, value in parameters.items() if key not in known]
        for start in range(0, len(new), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=new[start : start + MOST_PARAMETERS])

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if iteration < self._next:
            return
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, metrics=[Metric(name, value, now, iteration) for name, value in values.items()]
        )

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self._id, STATUS[ending])


def _experiment(client: Any) -> str:
    """The id of the experiment that the environment names, made where there is none of this name."""
    given = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if given:
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))
