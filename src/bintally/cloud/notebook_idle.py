"""Stops the notebook instance that it runs on once nobody has used it for a while: a program of its own, in cron.

It is sent to the instance whole, inside a lifecycle configuration, so it uses nothing but the standard library of the
Python there, which may be 3.10, and its boto3. Refuses to stop an instance whose Jupyter does not answer: somebody may
be at work.
"""

import argparse
import json
import ssl
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

_SESSIONS = "https://localhost:8443/api/sessions"
_ABOUT_ME = Path("/opt/ml/metadata/resource-metadata.json")


def is_idle(sessions: list[dict[str, Any]], *, now: datetime, started: datetime, idle: timedelta) -> bool:
    """Whether no kernel is at work and none was for `idle`, nor was the instance started since.

    >>> now = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    >>> kernel = {"kernel": {"execution_state": "idle", "last_activity": "2026-01-01T10:00:00.000000Z"}}
    >>> is_idle([kernel], now=now, started=now - timedelta(hours=9), idle=timedelta(hours=1))
    True
    """
    last = started
    for session in sessions:
        kernel = session["kernel"]
        if kernel["execution_state"] == "busy":
            return False
        last = max(last, datetime.fromisoformat(kernel["last_activity"].replace("Z", "+00:00")))
    return now - last > idle


def main() -> int:
    """Look once, and stop the instance if it is idle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle-minutes", type=int, required=True)
    minutes = parser.parse_args().idle_minutes
    up_seconds = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    now = datetime.now(timezone.utc)  # noqa: UP017 - datetime.UTC came with Python 3.11
    own = ssl.create_default_context()
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE  # Jupyter's own certificate, on this very machine
    with urllib.request.urlopen(_SESSIONS, timeout=10, context=own) as answer:
        sessions = json.load(answer)
    if is_idle(sessions, now=now, started=now - timedelta(seconds=up_seconds), idle=timedelta(minutes=minutes)):
        import boto3  # noqa: PLC0415 - not needed to decide

        me = json.loads(_ABOUT_ME.read_text(encoding="utf-8"))
        region = me["ResourceArn"].split(":")[3]  # cron gives no environment that names it
        boto3.client("sagemaker", region_name=region).stop_notebook_instance(NotebookInstanceName=me["ResourceName"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
