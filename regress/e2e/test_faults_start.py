"""A program that never becomes ready: smtpd gives up after its time, and says which one it was. The
supervisor's clock is put forward instead of waiting for a minute."""

import os
import shutil
import subprocess

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import wait_for

LATE = 61  # seconds


@pytest.fixture
def stage_of_one_that_hangs(stage, tmp_path_factory):
    """Programs whose directory starts and does nothing; `began` is there when it runs."""
    base = tmp_path_factory.mktemp("hangs")
    own = base / "stage"
    subprocess.run(["cp", "-a", stage, own], check=True)
    for path in (base, *base.parents[:2]):
        path.chmod(0o755)
    program = own / "usr/libexec/postern/directory"
    program.unlink()
    program.write_text(f"#!/bin/sh\n: >'{base}/began'\nexec sleep 600\n")
    program.chmod(0o755)
    yield own, base / "began"
    shutil.rmtree(base)


@pytest.fixture
def hanging(make_postern, faults, stage_of_one_that_hangs):
    postern = make_postern(start=False, environment=faults.environment)
    postern.stage, began = stage_of_one_that_hangs
    postern.allow(r"child-\w+.*program=directory")
    return postern, began


def test_a_program_that_is_never_ready_ends_the_start(hanging, faults):
    postern, began = hanging
    postern.start(ready=False)
    wait_for(began.exists, 10, "the directory runs")
    wait_for(lambda: postern.log_lines("child-started", program="control"), 10)
    with faults.set("smtpd", seconds=LATE):
        postern.wait_log("child-awaited", program="directory")
        wait_for(lambda: "directory isn't ready after 60 s; the log, or smtpd -d, says why" in
            postern.log_text(), 10, "the log says which it was")
        # And those that stop don't wait for it, either.
        faults["seconds"] = 2 * LATE
        assert postern.ended(10) == os.EX_UNAVAILABLE
    assert not postern.log_lines("started")


def test_who_starts_smtpd_in_the_background_is_told_by_its_status(hanging, faults):
    postern, began = hanging
    postern.write_config()
    starter = subprocess.Popen([postern.stage / "usr/sbin/smtpd", "-f", postern.config_file],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        cwd="/", env={**os.environ, **faults.environment})
    try:
        wait_for(began.exists, 10, "the directory runs")
        assert starter.poll() is None, "it waits for the suite to be ready"
        seconds = LATE
        with faults.set("smtpd", seconds=seconds):
            def ended():
                nonlocal seconds
                # Each time is over at once, the start's and those of stopping.
                seconds += LATE
                faults["seconds"] = seconds
                return starter.poll() is not None
            wait_for(ended, 20, "smtpd gives up")
    finally:
        starter.kill()
        words = starter.communicate()[1]
    assert starter.returncode == os.EX_UNAVAILABLE
    assert "directory isn't ready after 60 s" in words
