"""Runs the tests: `make check` everything once, `make sanitize` the unit and end-to-end tests under
ASan and UBSan. Each stage says how long it took, each thing that can fail counts, and the last
line is "N passed, N failed" (", N skipped" where some were).

Stages may be named as arguments to run only those: check.py unit e2e
"""

import concurrent.futures
import glob
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parents[1]
MAKE = [os.environ.get("MAKE", "make"), "-s", "--no-print-directory", "-j2"]
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "2"))
E2E_RUNS = os.environ.get("E2E_RUNS", "4")
CRASH_KILLS = os.environ.get("CRASH_KILLS", "20")
FOLDERS = ("common", "smtpd", "queue", "lookup", "deliver", "smtpctl", "mailbox", "regress")


class Totals:
    passed = failed = skipped = 0


def count(good, name, output=""):
    """One thing that passed or failed; says which failed and what it printed."""
    if good:
        Totals.passed += 1
    else:
        Totals.failed += 1
        print(f"FAILED {name}", flush=True)
        if output.strip():
            print("    " + output.strip().replace("\n", "\n    "), flush=True)
    return good


def run(words, timeout=900, **options):
    """A command's status and output (both streams); a time-out is status 124."""
    environment = {**os.environ, **options.pop("environment", {})}
    # What make passes down to its own children is not for the makes and tests started here.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        environment.pop(name, None)
    try:
        result = subprocess.run([str(word) for word in words], cwd=TOP, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, env=environment,
            text=True, errors="replace", **options)
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
        output = output if isinstance(output, str) else output.decode(errors="replace")
        return 124, f"{output}\nnot done after {timeout} s"
    return result.returncode, result.stdout


def complaints(output):
    """What stands in a build's output beside its steps: a failure may be far from the end."""
    lines = [line for line in output.splitlines() if not re.match(r"  [A-Z]+ \S+$", line)]
    return "\n".join(lines)[-6000:]


def build(what, directory, *variables):
    """Builds the programs and the unit tests."""
    tests = [f"{directory}/unit/{path.stem}" for path in unit_sources()]
    status, output = run(MAKE + [f"BUILD={directory}", *variables, "-k", "all", *tests])
    return count(status == 0, f"build with {what}", complaints(output))


def unit_sources():
    return sorted((TOP / "regress/unit").glob("test_*.c"))


def unit_one(program):
    """A test program's status and output; None when it isn't there."""
    if not program.exists():
        return None, "not built"
    with tempfile.TemporaryDirectory() as scratch:
        return run([program], timeout=120, environment={"CMOCKA_MESSAGE_OUTPUT": "stdout",
            "TMPDIR": scratch})


def failures(output):
    """What the failed tests of a program said; how it ended, when none says that it failed."""
    said = [test[-3000:] for test in re.findall(r"^\[ RUN .*?(?=^\[ RUN |\Z)", output, re.MULTILINE | re.DOTALL)
        if "[  FAILED  ]" in test.split("[==========]")[0]]
    return "\n".join(said)[:12000] or output[-4000:]


def unit(directory):
    """Three at a time, since some wait more than they compute; the longest first, as far as the size of
    their sources tells."""
    if os.geteuid() == 0:  # the supervisor looks for them
        run([TOP / "etc/make-accounts.sh"])
    sources = sorted(unit_sources(), key=lambda path: -path.stat().st_size)
    names = [source.stem for source in sources]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = list(pool.map(unit_one, [TOP / directory / "unit" / name for name in names]))
    for name, (status, output) in zip(names, results):
        if status is None:
            count(False, name, output)
            continue
        good = len(re.findall(r"^\[ +OK +\]", output, re.MULTILINE))
        skipped = len(set(re.findall(r"^\[ +SKIPPED +\] (\S+)$", output, re.MULTILINE)))
        bad = len(set(re.findall(r"^\[ +FAILED +\] (\S+)$", output, re.MULTILINE)))
        Totals.passed += good
        Totals.skipped += skipped
        if status != 0:
            Totals.failed += max(bad, 1) - 1
            count(False, f"{name} (status {status})", failures(output))
        elif good + skipped == 0:
            count(False, name, "ran no test")


def run_pytest(name, paths, directory, timeout, environment):
    """One run of pytest: what it is called, its status and output, and its report or None."""
    with tempfile.TemporaryDirectory() as scratch:
        report = f"{scratch}/report.xml"
        words = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short",
            "-rfE", "--show-capture=no", "--durations=8", f"--junitxml={report}", *paths]
        status, output = run(words, timeout, environment={"POSTERN_BUILD": directory,
            **environment})
        try:
            return name, status, output, xml.etree.ElementTree.parse(report).getroot()
        except (OSError, xml.etree.ElementTree.ParseError):
            return name, status, output, None


def count_pytest(name, status, output, report):
    if report is None:
        count(False, f"{name} (pytest's status {status})", output[-8000:])
        return
    for suite in report.iter("testsuite"):
        total, failures, errors, skipped = (int(suite.get(word)) for word in
            ("tests", "failures", "errors", "skipped"))
        # A test that fails and whose tear-down fails too is counted twice by pytest.
        Totals.failed += failures + errors
        Totals.skipped += skipped
        Totals.passed += max(total - failures - errors - skipped, 0)
    print(output[-20000:] if status else "\n".join(output.splitlines()[-12:]), flush=True)
    if status not in (0, 1):
        count(False, f"{name}: pytest's status {status}")


def longest_first(folder):
    """The test files; the longest, which take the most time, first."""
    files = (TOP / folder).glob("test_*.py")
    return sorted(files, key=lambda path: (-path.stat().st_size, path))


def lint(_directory):
    pages = [page for folder in FOLDERS for page in sorted(glob.glob(f"{TOP}/{folder}/*.[158]"))]
    for page in pages:
        # STYLE is for matters of taste, such as the system's name in the last line.
        status, output = run(["mandoc", "-Tlint", "-Wwarning", page])
        # Debian's man(1) is groff, which stumbles over other things.
        formatted, complaints = run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", page])
        count(status == 0 and formatted == 0 and not complaints,
            f"mandoc, groff {os.path.relpath(page, TOP)}", output + complaints)
    sources = [name for folder in FOLDERS for pattern in ("*.[ch]", "*/*.[ch]")
        for name in sorted(glob.glob(f"{TOP}/{folder}/{pattern}"))]
    status, output = run(["clang-format", "--dry-run", "-Werror", *sources])
    count(status == 0, "clang-format", "\n".join(output.splitlines()[:40]))
    scripts = [TOP / ".ci/run", *sorted(TOP.glob("regress/**/*.sh")), *sorted(TOP.glob("etc/*.sh"))]
    for script in scripts:
        status, output = run(["bash", "-n", script])
        count(status == 0, f"bash -n {script.relative_to(TOP)}", output)


def fuzz_one(target, directory):
    """Status and output of one target's run, over its seeds and what earlier runs found."""
    corpus = TOP / directory / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = TOP / "regress/fuzz/seeds" / target
    words = [TOP / directory / "fuzz" / target, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10",
        "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0",
        f"-artifact_prefix={TOP}/{directory}/", corpus] + ([seeds] if seeds.is_dir() else [])
    return run(words, timeout=FUZZ_SECONDS + 120)


def fuzz(_directory):
    directory = "build/fuzzing"
    targets = sorted(path.stem for path in (TOP / "regress/fuzz").glob("fuzz_*.c"))
    status, output = run(MAKE + ["-k", "fuzz-build", f"BUILD={directory}", "CC=clang", "SANITIZE=1",
        "CFLAGS=-fsanitize=fuzzer-no-link"])
    count(status == 0, "build of the fuzz targets", complaints(output))
    built = [target for target in targets if (TOP / directory / "fuzz" / target).exists()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda target: fuzz_one(target, directory), built)
        for target, (status, output) in zip(built, results):
            runs = re.search(r"stat::number_of_executed_units: *(\d+)", output)
            print(f"{target}: {runs.group(1) if runs else 0} inputs", flush=True)
            count(status == 0 and runs is not None, target, output[-4000:])


def clang(_directory):
    status, output = run(MAKE + ["-k", "syntax", "BUILD=build/clang", "CC=clang"])
    count(status == 0, "clang's warnings", complaints(output))


def demo(directory):
    status, output = run(MAKE + ["demo", "DEMO=once", f"BUILD={directory}"], timeout=180)
    count(status == 0, "make demo DEMO=once", output[-6000:])


def crash(directory):
    count_pytest(*run_pytest("crash", ["-n", "2", "regress/crash"], directory, 600,
        {"CRASH_KILLS": CRASH_KILLS}))


def e2e(directory):
    """Several files at a time, each run with ports of its own: most tests wait more than they
    compute."""
    count_pytest(*run_pytest("e2e", ["-n", E2E_RUNS, "--dist", "loadfile",
        *longest_first("regress/e2e")], directory, 1500, {}))


CHECK = (
    ("gcc", lambda directory: build("gcc", directory, "CC=gcc")),
    ("unit", unit),
    ("lint", lint),
    ("demo", demo),
    ("e2e", e2e),
    ("crash", crash),
    ("clang", clang),
    ("fuzz", fuzz),
)
SANITIZE = (
    ("asan", lambda directory: build("gcc, ASan and UBSan", directory, "SANITIZE=1")),
    ("unit", unit),
    ("e2e", e2e),
)


def main(arguments):
    stages, directory = CHECK, os.environ.get("POSTERN_BUILD", "build")
    if arguments[:1] == ["sanitize"]:
        stages, directory, arguments = SANITIZE, "build/asan", arguments[1:]
    unknown = set(arguments) - {name for name, _ in stages}
    if unknown:
        print(f"no such stage: {' '.join(sorted(unknown))}", file=sys.stderr)
        return os.EX_USAGE
    begin = time.monotonic()
    for name, stage in stages:
        if arguments and name not in arguments:
            continue
        print(f"== {name}", flush=True)
        start = time.monotonic()
        before = Totals.passed, Totals.failed
        stage(directory)
        print(f"== {name}: {Totals.passed - before[0]} passed, {Totals.failed - before[1]} failed, "
            f"{time.monotonic() - start:.0f} s", flush=True)
    print(f"All of it took {time.monotonic() - begin:.0f} s.")
    skipped = f", {Totals.skipped} skipped" if Totals.skipped else ""
    print(f"{Totals.passed} passed, {Totals.failed} failed{skipped}", flush=True)
    return 1 if Totals.failed or not Totals.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
