"""Where no task can wait for a person the import says what is missing, and nothing else breaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
# What an older standard provider does not have.
sys.modules["airflow.providers.standard.operators.hitl"] = None
import airflow_provider_kandinsky.operators.text_to_image, airflow_provider_kandinsky.gallery.plugin
try:
    import airflow_provider_kandinsky.operators.review
except ImportError as error:
    print("\\n" + str(error))
"""


@pytest.mark.heavy
def test_the_import_says_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "KandinskyReviewOperator needs Airflow 3.1 and the human-in-the-loop operators of its standard provider, or "
        "later ones"
    )
