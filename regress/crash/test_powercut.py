"""Power cuts: file systems are shut down without writing what they still held, right after the last 250
was read, and mounted again. Spool and mailboxes on one file system and on two, ext4 and XFS. And a
short form of regress/powercut: cuts inside each phase of the work."""

import os
import random
import subprocess
import sys

import pytest

from disks import image  # noqa: F401
from postern import TOP
from test_crash import check_spool, settle
from traffic import Traffic

USERS = [f"user{number}@example.test" for number in range(4)]


@pytest.fixture
def make_postern_on(image, make_postern):  # noqa: F811; the images must outlive the instance
    def make(spool, mail):
        spool_disk = image(spool)
        mail_disk = image(mail) if mail else spool_disk
        return [spool_disk, mail_disk][: 2 if mail else 1], make_postern(
            spool=spool_disk.path / "spool", mail=mail_disk.path / "mail")
    return make


@pytest.mark.parametrize("spool, mail", [("ext4", None), ("xfs", None), ("ext4", "xfs"),
    ("xfs", "ext4")])
def test_what_was_acknowledged_is_there_after_a_power_cut(make_postern_on, spool, mail):
    disks, postern = make_postern_on(spool, mail)
    for address in USERS:
        postern.add_user(address)
    postern.add_user("bounces@example.test")
    generator = random.Random()
    traffic = Traffic(postern, USERS, "bounces@example.test", generator.random())
    traffic.start()
    try:
        for _ in range(3):
            assert traffic.wait_acknowledged(generator.randrange(50, 200), 30)
            # The disks first: what the processes do between this and their end is lost.
            for disk in generator.sample(disks, len(disks)):
                disk.cut()
            postern.crash()
            for disk in disks:
                disk.remount()
            postern.start()
    finally:
        traffic.stop()
    settle(postern)
    problems = traffic.account({address: postern.mails(address) for address in USERS})
    assert not problems, "\n".join([f"{len(problems)} of {len(traffic.acknowledged)}:"] +
        problems[:20])
    assert not traffic.wrong, traffic.wrong[:10]
    assert not postern.mails("bounces@example.test")
    check_spool(postern)


def test_cuts_inside_each_phase_lose_nothing():
    words = [sys.executable, "-B", TOP / "regress/powercut/powercut.py", "--cells", "ext4x2",
        "--cuts", "9"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate()
        except BaseException:  # the test's time is up: it must unmount its disks
            process.terminate()
            process.communicate()
            raise
    print(output)
    if process.returncode == os.EX_UNAVAILABLE:
        pytest.skip(output.splitlines()[-1])
    assert process.returncode == 0, output
