"""Cuts the power, hundreds of times, while mail flows: see README.

	make powercut                                 400 cuts and more, exit status 0 when all is well
	regress/powercut/powercut.py --cuts 8 --cells ext4x2 --seed 1

Each cell is a kind of file system, once for spool, accounts and mailboxes together, once with the
mailboxes on another (ext4, ext4x2, xfs, xfsx2). In each, a few times over: a fresh suite is
started, mail flows and accounts change, and pictures of the disk are taken (disk.py). Then each picture
is mounted, the suite started on it, all mail delivered, and everything accounted for (cutmail.py).

Where a cut falls is not left to chance. A library preloaded into the suite (cutshim.c) stops a
process at a chosen point of its work, and the picture is taken while it stands there: POINTS has them,
by phase. A cut is counted as inside a phase only when a process stood at one of its points from before
the picture was begun until it was complete. Other processes go on meanwhile. Now and then no point
is chosen, and at most of the points where bytes are written but not synced, some of the segments'
sectors are written as well, as the kernel may at any time, so that the cut tears batches.
"""

import argparse
import collections
import contextlib
import itertools
import mmap
import os
import pathlib
import pwd
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import cutmail  # noqa: E402
import postern as harness  # noqa: E402
from disk import Disk, Host, NoDisk, tear  # noqa: E402
from disks import hide_mounts  # noqa: E402
from system_users import Users  # noqa: E402

CELLS = {"ext4": ("ext4", 1), "ext4x2": ("ext4", 2), "xfs": ("xfs", 1), "xfsx2": ("xfs", 2)}
RECYCLING, COPYING, LARGE = "segment recycling", "generation copying", "large message"
RENAME, ACCOUNTS, DSN = "Maildir rename", "accounts change", "DSN creation"
BOX = "mbox append"
PHASES = (RECYCLING, COPYING, LARGE, RENAME, ACCOUNTS, DSN, BOX)
# In the order of enum point in cutshim.c; the first is 1.
POINTS = (
    ("freed, not synced", RECYCLING), ("freed", RECYCLING),
    ("in use again, not synced", RECYCLING), ("in use again", RECYCLING),
    ("copies not synced", COPYING), ("copies beside the originals", COPYING),
    ("originals about to be freed", COPYING),
    ("file made", LARGE), ("being written", LARGE), ("written", LARGE), ("data synced", LARGE),
    ("name synced, not recorded", LARGE), ("in tmp, not synced", LARGE),
    ("done, file there", LARGE), ("file removed", LARGE),
    ("synced in tmp", RENAME), ("renamed, not synced", RENAME),
    ("synced in new, not told", RENAME),
    ("log not synced", ACCOUNTS), ("log synced, not told", ACCOUNTS),
    ("page about to be written", ACCOUNTS),
    ("not written", DSN), ("not synced", DSN), ("synced, failure not forgotten", DSN),
    ("being appended", BOX), ("appended, not synced", BOX), ("synced, not told", BOX),
)
LARGE_IN_TMP = 1 + POINTS.index(("in tmp, not synced", LARGE))
TORN = {number for number, (name, _) in enumerate(POINTS, 1)
    if "not synced" in name and POINTS[number - 1][1] in (RECYCLING, COPYING, DSN)}
# A segment is emptied by copying when it has been full for 10 s, and a large message comes each second.
AIM_SECONDS = 6
WARM_UP = 12
RULES = """
action "in" maildir pipes
action "box" mbox
action "home" maildir
match from any for domain "box.test" action "box"
match from any for domain "home.test" action "home"
match from any for domain <accounts> action "in"
"""
HOMES = "home.test"


class Page:
    """What the harness and the preloaded library share."""

    def __init__(self, path):
        self.aims = 0
        with open(path, "w+b") as page:
            page.truncate(4096)
            self.page = mmap.mmap(page.fileno(), 4096)
        os.chmod(path, 0o666)

    def __getitem__(self, word):
        return struct.unpack_from("<I", self.page, 4 * word)[0]

    def __setitem__(self, word, value):
        struct.pack_into("<I", self.page, 4 * word, value)

    @contextlib.contextmanager
    def hold(self, point, skip, seconds):
        """While the block lasts a process stands at the point; the value is False where none came."""
        self.aims += 1
        aim = self.aims << 8 | point
        self[1] = skip
        self[0] = aim
        deadline = time.monotonic() + seconds
        while self[2] != aim and time.monotonic() < deadline:
            time.sleep(0.0005)
        try:
            yield self[2] == aim
        finally:
            self[0] = 0


class Cut:
    def __init__(self, path, point):
        self.path = path
        self.point = point  # 0: anywhere
        self.held = {}  # by the kernel, of the newest segments: {name: bytes}
        self.torn = False
        self.begun = self.done = None

    def __str__(self):
        name, phase = POINTS[self.point - 1] if self.point else ("anywhere", "no phase")
        return f"{self.path.name}, {phase}, {name}{', torn' if self.torn else ''}"


class Cell:
    """What became of one cell's cuts."""

    def __init__(self, name):
        self.name = name
        self.cuts = 0
        self.inside = collections.Counter()  # by point
        self.missed = collections.Counter()
        self.complaints = collections.Counter()
        self.problems = []
        self.acknowledged = self.duplicates = self.torn = self.quarantined = 0
        self.seconds = 0

    def phase(self, phase):
        return sum(count for point, count in self.inside.items()
            if point and POINTS[point - 1][1] == phase)


class Run:
    """One run of traffic on a fresh disk, and its cuts."""

    def __init__(self, options, cell, tools, disk, base):
        self.options = options
        self.cell = cell
        self.tools = tools
        self.disk = disk
        self.generator = options.generator
        self.page = Page(base / "page")
        spool, mail = disk.mounts[0], disk.mounts[-1]
        self.out = mail / "out"
        self.users = Users(mail / "homes")
        self.homes = {}  # of users of the system, by address
        self.postern = harness.Postern(options.stage, base=base / "instance", spool=spool / "spool",
            state=spool / "state", mail=mail / "mail", rules=RULES,
            extra="queue segment-size 4M\nqueue retry-first 30d\nqueue retry-max 30d\n",
            environment={"LD_PRELOAD": str(tools / "cutshim.so"), "POSTERN_CUT": str(base / "page")})

    def set_up(self):
        entry = pwd.getpwnam("_vmail")
        for path in (self.out, self.out / "kept"):
            path.mkdir()
            os.chown(path, entry.pw_uid, entry.pw_gid)
        self.users.base.mkdir(mode=0o755)
        for short in "ab":
            name = self.users.add(short)
            self.homes[f"{name}@{HOMES}"] = self.users.box(name)
        self.postern.start()
        self.postern.add_domain("example.test")
        self.postern.add_domain("box.test")
        for address in cutmail.USERS + cutmail.BOXES + [cutmail.SENDER]:
            self.postern.smtpctl("user", "add", address, "no-password")
        keep = f"|{self.tools}/keep {self.out}"
        self.postern.add_alias(cutmail.LATER, f"{keep} open")
        self.postern.add_alias(cutmail.PIPE, keep)
        self.postern.add_alias(cutmail.FAIL, "|exit 67")
        os.sync()

    def take(self, points, count):
        """Lets mail flow and takes the pictures."""
        mail = cutmail.Mail(self.postern, list(self.homes))
        cuts = []
        mail.start()
        try:
            time.sleep(WARM_UP)
            while len(cuts) < count:
                time.sleep(self.generator.random() * 0.1)
                point = next(points)
                cut = self.cut(point, self.disk.host.path / f"cut-{self.cell.cuts + len(cuts)}")
                if cut is None:
                    self.cell.missed[point] += 1
                else:
                    cuts.append(cut)
        finally:
            mail.stop(self.postern)
        return mail, cuts

    def cut(self, point, path):
        cut = Cut(path, point)
        skip = self.generator.randrange(20) if POINTS[point - 1][1] in (RENAME, BOX) else 0
        with (self.page.hold(point, skip, AIM_SECONDS) if point else
                contextlib.nullcontext(True)) as there:
            if not there:
                return None
            # What others do meanwhile. A large message in tmp/ is one that its client must know of.
            time.sleep(0.1 if point == LARGE_IN_TMP else
                self.generator.choice((0, 0.003, 0.03, 0.1)))
            if point in TORN and self.generator.random() < 0.75:
                segments = sorted((self.postern.spool / "segments").iterdir(),
                    key=lambda path: path.stat().st_mtime)
                cut.held = {segment.name: segment.read_bytes() for segment in segments[-2:]}
            cut.begun = time.monotonic()
            self.disk.picture(path)
            cut.done = time.monotonic()
        return cut

    def check(self, mail, cut):
        """Starts the suite on the picture and accounts for everything."""
        account = cutmail.Account()
        try:
            self.disk.use(cut.path)
            for name, data in cut.held.items():
                path = self.postern.spool / "segments" / name
                if path.exists() and tear(path, data, self.generator):
                    cut.torn = True
            cut.held = {}
            (self.out / "open").touch()
            self.expire_locks()
            self.postern.environment = {}
            position = self.postern.log_file.stat().st_size
            self.postern.start()
            try:
                account.look_at_accounts(mail, cut, self.postern)
                account.problems += self.settle()
                paths = self.homes | {address: self.postern.maildir(address)
                    for address in cutmail.USERS + [cutmail.SENDER]}
                maildirs = {address: [entry for folder in ("new", "cur")
                    for entry in os.scandir(path / folder)] for address, path in paths.items()}
                for address in cutmail.BOXES:
                    account.look_at_box(mail, self.postern.maildir(address) / "mbox", address)
                kept = [entry for entry in os.scandir(self.out / "kept") if entry.name[0] != "."]
                account.look(mail, cut, maildirs, kept)
                log = self.postern.log_text(position)
            finally:
                self.postern.crash()
        except (AssertionError, OSError) as why:
            account.problems.append(str(why))
            log = ""
        self.note(cut, account, log)

    def expire_locks(self):
        """A lock whose holder's number the cut took counts for five minutes, which we don't wait."""
        for address in cutmail.BOXES:
            lock = self.postern.maildir(address) / "mbox.lock"
            if lock.exists() and lock.stat().st_size == 0:
                lock.unlink()

    def end(self):
        if self.postern.process is not None:
            self.postern.crash()
        self.users.clear()

    def settle(self):
        """Everything that is queued is tried at once until the queue is empty. What is left after a
        long while."""
        deadline = time.monotonic() + 30
        while left := self.postern.smtpctl("show", "queue").stdout.splitlines():
            if time.monotonic() > deadline:
                return [f"stuck: {line}" for line in left]
            self.postern.smtpctl("schedule", "all", check=False)
            time.sleep(0.02)
        return []

    def note(self, cut, account, log):
        cell = self.cell
        cell.cuts += 1
        cell.inside[cut.point] += 1
        cell.torn += cut.torn
        cell.acknowledged += account.acknowledged
        cell.duplicates += account.duplicates
        for line in log.splitlines():
            if "quarantine" in line:
                cell.quarantined += 1
            elif harness.LogLine(line).level == "error":
                account.problems.append(line)
        if account.problems:
            lines = [f"{cell.name}: {cut}: {len(account.problems)} problems"]
            lines += [f"    {problem}" for problem in account.problems[:10]]
            print("\n".join(lines), flush=True)
            cell.problems += lines
            if self.options.keep:
                self.options.keep.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "--sparse=always", cut.path,
                    self.options.keep / f"{cell.name}-{cut.path.name}"], check=True)
        cut.path.unlink()


def aims(generator):
    """Every point once, a phase after the other in turn, then some cuts anywhere; and again."""
    while True:
        phases = [[number for number, (_, one) in enumerate(POINTS, 1) if one == phase]
            for phase in PHASES]
        for points in phases:
            generator.shuffle(points)
        for turn in itertools.zip_longest(*phases):
            yield from (point for point in turn if point is not None)
        yield from [0] * 3


def run_cell(options, name, tools):
    kind, count = CELLS[name]
    cell = Cell(name)
    began = time.monotonic()
    points = aims(options.generator)
    while cell.cuts < options.cuts:
        with Host() as host, Disk(host, kind, count) as disk, \
                tempfile.TemporaryDirectory(prefix="postern-cut-", dir="/tmp") as base:
            os.chmod(base, 0o755)
            pathlib.Path(base, "instance").mkdir()
            for path in (host.base, host.path):
                path.chmod(0o755)
            run = Run(options, cell, tools, disk, pathlib.Path(base))
            try:
                run.set_up()
                mail, cuts = run.take(points, min(options.at_once, options.cuts - cell.cuts))
                for cut in cuts:
                    run.check(mail, cut)
            finally:
                run.end()
            cell.complaints.update(mail.complaints)
        print(f"{name}: {cell.cuts} cuts in {time.monotonic() - began:.0f} s", flush=True)
    cell.seconds = time.monotonic() - began
    return cell


def build(directory):
    """Compiles the library and what mail is piped to."""
    compiler = [os.environ.get("CC", "gcc"), "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror"]
    for words in (["-shared", "-fPIC", "-o", directory / "cutshim.so", HERE / "cutshim.c", "-ldl"],
            ["-o", directory / "keep", HERE / "keep.c"]):
        subprocess.run([*compiler, *words], check=True)
    os.chmod(directory, 0o755)


def run(options):
    """A Cell for each of options.cells."""
    options.generator = random.Random(options.seed)
    hide_mounts()
    with tempfile.TemporaryDirectory(prefix="postern-cut-", dir="/tmp") as tools:
        build(pathlib.Path(tools))
        return [run_cell(options, name, pathlib.Path(tools)) for name in options.cells]


def report(cells, file=sys.stdout):
    names = [cell.name for cell in cells]

    def line(title, values):
        print(f"{title:<40}" + "".join(f"{value:>10}" for value in values), file=file)
    line("", names)
    line("cuts", [cell.cuts for cell in cells])
    for phase in PHASES:
        line(f"inside {phase}", [cell.phase(phase) for cell in cells])
        for number, (name, one) in enumerate(POINTS, 1):
            if one == phase:
                line(f"    {name}", [cell.inside[number] for cell in cells])
    line("anywhere", [cell.inside[0] for cell in cells])
    line("with torn batches", [cell.torn for cell in cells])
    line("unfinished batches found by restarts", [cell.quarantined for cell in cells])
    line("acknowledged messages accounted for", [cell.acknowledged for cell in cells])
    line("duplicates, of pipes and DSNs", [cell.duplicates for cell in cells])
    line("cuts with problems", [sum(not one.startswith(" ") for one in cell.problems)
        for cell in cells])
    line("seconds", [f"{cell.seconds:.0f}" for cell in cells])
    for cell in cells:
        if cell.missed:
            print(f"{cell.name}: not met in time: " + ", ".join(f"{POINTS[point - 1][0]} {count}"
                for point, count in sorted(cell.missed.items())), file=file)
        for words, count in cell.complaints.most_common(5):
            print(f"{cell.name}: {count} times refused: {words}", file=file)


def failures(cells):
    """Why the whole failed: lines, none when it passed."""
    lines = [line for cell in cells for line in cell.problems]
    for cell in cells:
        lines += [f"{cell.name}: no cut inside {phase}" for phase in PHASES if not cell.phase(phase)]
    return lines


def end(number, _frame):
    """Told to end: the disks are unmounted on the way out."""
    sys.exit(128 + number)


def main():
    signal.signal(signal.SIGTERM, end)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=104, help="in each cell (104)")
    parser.add_argument("--at-once", type=int, default=26,
        help="pictures of one run of traffic (26)")
    parser.add_argument("--cells", default=",".join(CELLS), help="of ext4,ext4x2,xfs,xfsx2")
    parser.add_argument("--seed", help="of what is chosen by chance; the moments still differ")
    parser.add_argument("--keep", type=pathlib.Path,
        help="where pictures that show a problem are copied to")
    options = parser.parse_args()
    options.cells = options.cells.split(",")
    options.seed = options.seed or str(random.SystemRandom().getrandbits(32))
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="postern-stage-", dir="/tmp") as stage:
        os.chmod(stage, 0o755)
        subprocess.run([harness.TOP / "etc/make-accounts.sh"], check=True)
        subprocess.run(["make", "-s", "--no-print-directory", "-C", harness.TOP, "stage",
            f"BUILD={os.path.relpath(harness.BUILD, harness.TOP)}", f"DESTDIR={stage}",
            "PREFIX=/usr"], check=True, stdin=subprocess.DEVNULL)
        options.stage = stage
        try:
            cells = run(options)
        except (NoDisk, PermissionError) as why:
            print(f"powercut: can't be run here: {why}", file=sys.stderr)
            return os.EX_UNAVAILABLE
    report(cells)
    lines = failures(cells)
    print("\n".join(lines) if lines else "Nothing was lost, torn or doubled.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
