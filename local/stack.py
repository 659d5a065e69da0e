"""The whole of it in one block: PostgreSQL, the speech server, and AWS with our template in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.aws import Aws, Stack
from local.postgres import Postgres
from local.schema import create_tables
from local.speech import SpeechServer
from memolist_tts.postgres.schema import migrate

API_KEY = "sk-of-the-local-speech-server"
TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A real provider to speak with instead of the local stand-in."""

    api_key: str = field(repr=False)
    base_url: str = ""
    """Of a server that is compatible with OpenAI's; blank for OpenAI itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The running stack."""

    database_url: str
    speech: SpeechServer | None
    """The stand-in for the provider; None where the real one speaks."""
    aws: Aws
    stack: Stack

    def send(self, job_id: str, user_id: str = "demo") -> None:
        """What the API does once a job's row is there: put its message on the queue."""
        self.aws.client("sqs").send_message(
            QueueUrl=self.stack.resources["Queue"],
            MessageBody=json.dumps({"jobId": job_id}),
            MessageGroupId=user_id,
        )

    def objects(self, besides: Collection[str] = ()) -> dict[str, bytes]:
        """Every object of the audio bucket but those of these names, by name."""
        s3, bucket = self.aws.client("s3"), self.stack.resources["AudioBucket"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        names = {each["Key"] for page in pages for each in page.get("Contents", ())}
        return {
            name: s3.get_object(Bucket=bucket, Key=name)["Body"].read()
            for name in sorted(names.difference(besides))
        }

    def log(self) -> str:
        """What the functions wrote, and why one could not start."""
        functions = {id_: self.stack.resources.get(id_, "") for id_ in FUNCTIONS}
        written = [f"{id_}:\n{self.aws.log(name)}" for id_, name in functions.items() if name]
        return "\n\n".join([*written, f"the AWS emulator:\n{self.aws.server_log(2_500)}"])


FUNCTIONS = ("SynthesizeFunction", "SweepFunction", "CanaryFunction")


@contextmanager
def embedded(
    *,
    public_base_url: str,
    provider: Provider | None = None,
    tts_provider: str = "auto",
    template: Path = TEMPLATE,
) -> Iterator[Embedded]:
    """Start it all on free ports of 127.0.0.1, with the tables there and the template deployed.

    `public_base_url` stands for the CDN's. Without a `provider` the local speech server
    speaks, by the way `tts_provider` (TTS_PROVIDER). Nothing outlives the block, or this process.
    """
    postgres, aws = Postgres(), Aws()
    speech = SpeechServer(api_key=API_KEY) if provider is None else None
    with together(postgres, aws, *([speech] if speech else [])):
        if speech:
            provider = Provider(api_key=API_KEY, base_url=speech.base_url)
        assert provider is not None
        url = postgres.create("memolist")
        create_tables(url)
        migrate(url)
        stack = aws.deploy(
            template,
            "memolist-tts",
            parameters={
                "DatabaseUrlSecretArn": aws.secret("database-url", url),
                "OpenAiApiKeySecretArn": aws.secret("openai-api-key", provider.api_key),
                "OpenAiBaseUrl": provider.base_url,
                "TtsProvider": tts_provider,
            },
            # The functions inherit this process's variables, and a value goes before a secret.
            environment={
                "PUBLIC_BASE_URL": public_base_url,
                "DATABASE_URL": "",
                "OPENAI_API_KEY": "",
            },
        )
        yield Embedded(database_url=url, speech=speech, aws=aws, stack=stack)


@contextmanager
def together(*servers: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter several context managers at once, each on a thread; leave them in reverse order."""
    with ExitStack() as entered:
        with ThreadPoolExecutor(len(servers)) as pool:
            starting = [pool.submit(server.__enter__) for server in servers]
            wait(starting)
        for server, each in zip(servers, starting, strict=True):
            if each.exception() is None:
                entered.push(server)
        for each in starting:
            each.result()
        yield
