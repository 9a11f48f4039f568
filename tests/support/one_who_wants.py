"""A process that wants a batch of images, as one of several: ``python -m tests.support.one_who_wants NUMBER FOLDER``.

The environment has the connection, and S3_ENDPOINT where the folder is in S3. It prints the counts and the URIs.
"""

from __future__ import annotations

import json
import os
import sys

from airflow.sdk.io import attach

from airflow_provider_kandinsky.results.reuse_policy import ClaimPolicy

from .task_instance import SMALL, another_run, cats, paint_all


def main(number: int, folder: str) -> None:
    if endpoint := os.environ.get("S3_ENDPOINT"):
        from s3fs import S3FileSystem

        fs = S3FileSystem(key="nobody", secret="none", endpoint_url=endpoint, use_listings_cache=False)
        attach("s3", conn_id="moto", fs=fs)
    path = f"{folder}/{{request_id}}-{{index}}.{{extension}}"
    task = paint_all(cats(100), output_path=path, reuse=True, **SMALL)
    task.claim_policy = ClaimPolicy(interval=1)
    ti = another_run(number)
    rows = ti.run(task)
    sys.stdout.write(f"{json.dumps({'counts': ti.pushed['counts'], 'urls': [row['urls'] for row in rows]})}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
