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


def time_passes_until(faults, condition, what):
    """Each time that the supervisor gives somebody is over at once, the start's and those of
    stopping."""
    seconds = 0

    def met():
        nonlocal seconds
        seconds += LATE
        faults["seconds"] = seconds
        return condition()
    with faults.set("smtpd"):
        wait_for(met, 20, what)


def test_a_program_that_is_never_ready_ends_the_start(hanging, faults):
    postern, began = hanging
    postern.start(ready=False)
    wait_for(began.exists, 10, "the directory runs")
    time_passes_until(faults, lambda: postern.process.poll() is not None, "smtpd gives up")
    assert postern.ended() == os.EX_UNAVAILABLE
    assert postern.log_lines("child-awaited", program="directory")
    assert "directory isn't ready after 60 s; the log, or smtpd -d, says why" in postern.log_text()
    assert not postern.log_lines("started")


def test_who_starts_smtpd_in_the_background_is_told_by_its_status(hanging, faults):
    postern, began = hanging
    postern.write_config()
    starter = subprocess.Popen([postern.stage / "usr/sbin/smtpd", "-f", postern.config_file],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        cwd="/", env=postern._environment())
    try:
        wait_for(began.exists, 10, "the directory runs")
        assert starter.poll() is None, "it waits for the suite to be ready"
        time_passes_until(faults, lambda: starter.poll() is not None, "smtpd gives up")
    finally:
        starter.kill()
        words = starter.communicate()[1]
    assert starter.returncode == os.EX_UNAVAILABLE
    assert "directory isn't ready after 60 s" in words
