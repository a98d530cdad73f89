"""Repeats a step that MLflow's store does not answer, from its start, for half a minute.

Such a step may be begun any number of times. A single request may not: where only the answer was lost, a second one
creates a second run. So MLflow's own repetition of requests is switched off.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

REQUESTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # MLflow's own: 7, 120 seconds
PAUSES = (1, 2, 4, 8, 16)  # seconds between the attempts at a step
REMEDY = "start the server that MLFLOW_TRACKING_URI names, or delete a damaged mlflow.db, and publish again"
T = TypeVar("T")


class PublicationError(ValueError):
    """The store does not answer. Records are as they were; a later publication shows what this one did not."""

    status = os.EX_TEMPFAIL  # of the process: the rule `publish` tells it from an error that must be mended


def with_retries(store: str, step: Callable[[], T]) -> T:
    """What the step returns; PublicationError where the store does not answer. One in a file here is not waited for."""
    pauses = iter(() if store.startswith("sqlite:") else PAUSES)
    while True:
        try:
            return step()
        except (MlflowException, RequestException, SQLAlchemyError) as error:
            reason = str(error).strip().splitlines()[0].split("(Caused by ")[-1]
            said = re.sub(r"//\S*@", "//", f"{store}: MLflow does not answer: {reason}")  # without a password
            if (pause := next(pauses, None)) is None:
                raise PublicationError(f"{said}; {REMEDY}") from error
        print(f"{said}; again in {pause} s", file=sys.stderr, flush=True)
        time.sleep(pause)
