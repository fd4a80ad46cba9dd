"""Fixtures of the end-to-end and crash tests; class Postern is in e2e/postern.py.

stage          the suite installed once a session, from POSTERN_BUILD (default build), by
               `make stage`: nothing is built here. Its path; programs are in usr/sbin.
postern        a started instance: domain example.test, users alice@ and bob@, alias
               team@ -> alice, bob. Stopped and checked after the test.
make_postern   a function that makes instances: make_postern(extra="smtp limit …"), see
               class Postern for its arguments; start=False leaves it stopped,
               accounts=False leaves the accounts database empty. All are stopped and
               checked after the test.
tool           a function: the path of a program from build/tools (smtp-source, smtp-sink)
               or PATH; skips the test where there is none.

Markers: time_limit(SECONDS) instead of 120; root: skipped unless pytest is root.
A test whose instance's process dies without postern.kill(), or with a sanitizer's report in
the log, fails when the instance stops; postern.allow(PATTERN) says which lines are expected.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "e2e"))

import postern as harness  # noqa: E402

TIME_LIMIT = 120


def pytest_configure(config):
    share_ports()
    config.addinivalue_line("markers", "time_limit(seconds): ends the test after so long")
    config.addinivalue_line("markers", "root: needs root")


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") and not harness.is_root():
        pytest.skip("needs root")


def share_ports():
    """Of several runs at once (pytest -n), each has a part of the ports for itself."""
    run, runs = (os.environ.get(f"PYTEST_XDIST_WORKER{word}") for word in ("", "_COUNT"))
    if run:
        low, high = (int(port) for port in os.environ.get("POSTERN_PORTS", "20000-29999").split("-"))
        number, size = int(run.removeprefix("gw")), (high - low + 1) // int(runs)
        os.environ["POSTERN_PORTS"] = f"{low + number * size}-{low + (number + 1) * size - 1}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    marker = item.get_closest_marker("time_limit")
    seconds = marker.args[0] if marker else TIME_LIMIT

    def expired(_signal, _frame):
        raise AssertionError(f"not done after {seconds} s")
    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def stage():
    if harness.is_root():
        subprocess.run([harness.TOP / "etc/make-accounts.sh"], check=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-stage-", dir="/tmp"))
    path.chmod(0o755)
    try:
        subprocess.run(["make", "-s", "--no-print-directory", "-C", harness.TOP, "stage",
            f"BUILD={os.path.relpath(harness.BUILD, harness.TOP)}", f"DESTDIR={path}",
            "PREFIX=/usr"], check=True, stdin=subprocess.DEVNULL)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_postern(stage):
    made = []

    def make(start=True, accounts=True, **arguments):
        instance = harness.Postern(stage, **arguments)
        made.append(instance)
        if start:
            instance.start()
            if accounts:
                instance.add_domain("example.test")
                instance.add_user("alice@example.test")
                instance.add_user("bob@example.test")
                instance.add_alias("team@example.test", "alice@example.test", "bob@example.test")
        return instance

    yield make
    problems = []
    for instance in made:
        try:
            instance.destroy()
        except AssertionError as why:
            problems.append(str(why))
    assert not problems, "\n\n".join(problems)


@pytest.fixture
def postern(make_postern):
    return make_postern()


@pytest.fixture
def postern_with_imap(make_postern):
    """One in which every program of the suite runs."""
    port = harness.free_port()
    instance = make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext")
    instance.imap_port = port
    return instance


@pytest.fixture(scope="session")
def tool():
    def find(name):
        own = harness.TOP / "build/tools/bin" / name
        path = str(own) if own.exists() else shutil.which(name)
        if path is None:
            pytest.skip(f"{name} isn't installed (make test-deps)")
        return path
    return find
