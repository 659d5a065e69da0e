"""Commands that change the database or do the work: migrate, poll."""

from __future__ import annotations

import threading
from typing import Annotated

import typer
from aws_lambda_powertools import Logger

from memolist_tts import assemble
from memolist_tts.announce import log_ending, log_report
from memolist_tts.cli import screen
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.core.model import Report
from memolist_tts.poll import halt_on_signals
from memolist_tts.poll import poll as run_poll
from memolist_tts.postgres.schema import migrate as run_migrations
from memolist_tts.settings import Needs, Settings

LogFlag = Annotated[bool, typer.Option("--json", help="The lines of the log, and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(migrate)
    app.command()(poll)


def migrate(as_json: JsonFlag = False) -> None:
    """Make or update the schema `tts`. The API's tables are left alone; safe to repeat."""
    settings = Settings.load(Needs.DATABASE)
    applied = run_migrations(assemble.database_url(settings))
    screen.answer(as_json, {"applied": applied}, *(f"in place: {name}" for name in applied))


def poll(as_json: LogFlag = False) -> None:
    """Speak pending jobs until SIGTERM or Ctrl-C. It looks for them every POLL_INTERVAL_MS."""
    worker = assemble.Worker(Settings.load(Needs.WORKER))
    with halt_on_signals() as halt:
        # Stops here, before any work: tables, folder or bucket, address and key.
        _ = worker.api, worker.storage, worker.wake, worker.speaker()
        if not as_json:
            _show_parts(worker)
        _poll(worker, halt)
    if not as_json:
        console.print("Stopped; what was left is handed back.")


def _show_parts(worker: assemble.Worker) -> None:
    """What it works on, and no secret."""
    settings, address = worker.settings, worker.database.address
    where = (
        f"s3://{settings.AWS_S3_BUCKET}"
        if settings.STORAGE_TYPE == "s3"
        else settings.LOCAL_STORAGE_PATH.resolve()
    )
    console.print(f"Database connected: {address.host}:{address.port}/{address.database}")
    console.print(f"OpenAI API key: {'set' if assemble.api_key(settings) != 'none' else 'none'}")
    console.print(
        f"Speech: {worker.identity}, {worker.way().route}, "
        f"model {worker.way().model}; clips in {where}"
    )
    console.print(f"Polling every {settings.POLL_INTERVAL_MS} ms")


def _poll(worker: assemble.Worker, halt: threading.Event) -> None:
    """Every end as a line of the log; and, once a day, that the model's end is near."""
    logger = Logger(service="memolist-tts")
    warned_on = None

    def warn_daily() -> None:
        nonlocal warned_on
        if warned_on != assemble.today() and (ending := worker.ending()) is not None:
            log_ending(logger, ending)
        warned_on = assemble.today()

    def tell(what: Report | Exception) -> None:
        warn_daily()
        if isinstance(what, Report):
            log_report(logger, what)
        else:
            logger.error("job_broke", problem=f"{type(what).__name__}: {what}")

    warn_daily()
    run_poll(worker, halt, tell)
