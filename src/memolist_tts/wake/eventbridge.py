"""Telling others through an EventBridge bus how a job ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from memolist_tts.core.errors import WakeError

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

SOURCE = "memolist-tts"


class EventBus:
    """Events of source `memolist-tts` on the bus `name`, one a job's end."""

    def __init__(self, name: str, client: EventBridgeClient, *, service: str) -> None:
        """`service` is the stack's name: two stages may share a bus."""
        self._name = name
        self._service = service
        self._client = client

    def tell(self, status: str, detail: Mapping[str, object]) -> None:
        """Put an event "TtsJob `status`" (completed or failed) with `detail`. Raises `WakeError`.

        Nothing is repeated: the row is the truth, and the event only says: look.
        """
        entry = {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": f"TtsJob {status}",
            "Detail": json.dumps({"service": self._service, **detail}, ensure_ascii=False),
        }
        try:
            answer = self._client.put_events(Entries=[entry])  # type: ignore[list-item]
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise WakeError(
                f"EVENT_BUS_NAME {self._name}: {error}. Allow events:PutEvents."
            ) from error
        if answer.get("FailedEntryCount"):
            raise WakeError(
                f"EVENT_BUS_NAME {self._name}: {answer['Entries'][0].get('ErrorMessage')}"
            )


def events_client(
    *, region: str | None = None, endpoint_url: str | None = None
) -> EventBridgeClient:
    """A client that gives up soon: no job waits for its event."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=2
    )
    return boto3.client("events", region_name=region, endpoint_url=endpoint_url, config=config)
