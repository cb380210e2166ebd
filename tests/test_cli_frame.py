"""The command line's frame: what every verb gets from it, whatever the verb does."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from animepggan import __version__, cli, errors
from animepggan.cli.common import Console, apply_threads, common_options, device_options, output_option, resolve_device

HEAVY = {"torch", "numpy", "pydantic", "yaml", "PIL", "huggingface_hub", "safetensors", "tqdm", "timm", "tensorboard"}
SECONDS = 0.3

Body = Callable[[Console], None]
Run = Callable[..., int]


def animepggan(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The program as its own process."""
    command = [sys.executable, *options.pop("interpreter", []), "-m", "animepggan", *arguments]
    return subprocess.run(command, check=False, text=True, timeout=60, **{"capture_output": True, **options})


def heavy_imports(*arguments: str) -> set[str]:
    """Which of the heavy packages the program imports for `arguments`."""
    done = animepggan(*arguments, interpreter=["-X", "importtime"])
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    return imported & HEAVY


def processor_seconds(*arguments: str) -> float:
    """What the program takes, at its best of five; on a busy machine the clock would measure the others."""
    taken = []
    for _ in range(5):
        before = os.times()
        assert animepggan(*arguments).returncode == 0
        after = os.times()
        taken.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(taken)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Installs a verb `fake` that runs the given body."""

    def install(body: Body) -> None:
        @click.command()
        @click.option("--count", type=click.IntRange(min=1), default=1)
        @click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32")
        @common_options
        def command(console: Console, count: int, precision: str) -> None:
            """Do nothing of use."""
            body(console)

        install_command(command, monkeypatch)

    return install


def install_command(command: click.Command, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("animepggan.cli.fake")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "animepggan.cli.fake", module)
    monkeypatch.setitem(cli.VERBS, "fake", "Do nothing of use.")


def raising(error: BaseException) -> Body:
    def body(_: Console) -> NoReturn:
        raise error

    return body


def nothing(_: Console) -> None:
    """A verb that succeeds."""


# Help


def test_help_lists_every_verb_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for verb, line in cli.VERBS.items():
        assert any(text.split(maxsplit=1) == [verb, line] for text in out.splitlines())


def test_without_a_verb_the_help_comes_with_the_code_of_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "pretrain" in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"animepggan {__version__}\n"


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_the_help_of_a_verb_opens(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.verbs.get_command(click.Context(cli.verbs), verb)
    assert command is not None
    for path in commands(command, (verb,)):
        for option in ("-h", "--help"):
            assert cli.main([*path, option]) == 0
            out, err = capsys.readouterr()
            assert out.startswith(f"Usage: animepggan {' '.join(path)} ")
            assert err == ""


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_a_verb_takes_the_common_options(verb: str) -> None:
    command = cli.verbs.get_command(click.Context(cli.verbs), verb)
    assert command is not None

    def leaves(this: click.Command) -> Iterator[click.Command]:
        if isinstance(this, click.Group):
            for child in this.commands.values():
                yield from leaves(child)
        else:
            yield this

    for leaf in leaves(command):
        names = {name for parameter in leaf.params for name in parameter.opts}
        assert {"--json", "--debug", "--quiet"} <= names, leaf.name


def test_help_imports_nothing_heavy() -> None:
    assert heavy_imports("--help") == set()


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_the_help_of_a_verb_imports_nothing_heavy(verb: str) -> None:
    assert heavy_imports(verb, "--help") == set()


def test_listing_the_recipes_imports_nothing_heavy() -> None:
    assert heavy_imports("recipes", "list") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["recipes", "list"], ["sample", "--help"]], ids=" ".join)
def test_small_questions_are_answered_quickly(arguments: list[str]) -> None:
    assert processor_seconds(*arguments) < SECONDS


# Errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AnimepgganError("wrong"), 1),
        (errors.RecipeError("wrong"), 2),
        (errors.DataError("wrong\nsecond line"), 3),
        (errors.ModelError("wrong"), 4),
        (errors.HubError("wrong"), 5),
        (errors.ResourceError("wrong"), 6),
        (errors.DivergedError("wrong"), 7),
        (errors.BusyError("wrong"), 8),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_a_message_and_a_code(
    error: errors.AnimepgganError, code: int, fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(error))
    assert cli.main(["fake"]) == code == error.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {error}\n"


def test_every_error_class_of_ours_has_a_test_above() -> None:
    family = {error.__name__ for error in errors.AnimepgganError.__subclasses__()}
    assert family == {
        *("RecipeError", "DataError", "ModelError", "HubError", "ResourceError", "DivergedError", "BusyError"),
        "Interrupted",
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_what_it_saved(
    number: signal.Signals, code: int, fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(errors.Interrupted("saved in X\ncontinue with Y", number)))
    assert cli.main(["fake"]) == code
    assert capsys.readouterr().err == "saved in X\ncontinue with Y\n"


def test_a_warning_of_the_library_is_said(fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]) -> None:
    fake(lambda _: logging.getLogger("animepggan.hub").warning("out of reach\nusing %s", "another"))
    for _ in range(2):
        assert cli.main(["fake", "--quiet"]) == 0
        assert capsys.readouterr() == ("", "warning: out of reach\nusing another\n")


def test_an_interrupt_outside_a_run(fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]) -> None:
    fake(raising(KeyboardInterrupt()))
    assert cli.main(["fake"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


class OutOfMemoryError(RuntimeError):
    """Stands for torch's class of that name."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/disk/picture.png"), "no space left on the disk: /disk/pic"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the disk\n"),
        (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "permission denied: /root/x"),
        (OSError(errno.EROFS, "Read-only file system", "/mnt/x"), "read-only file system: /mnt/x"),
        (MemoryError(), "not enough memory\n"),
        (MemoryError("Unable to allocate 8 TiB"), "not enough memory: Unable to allocate 8 TiB"),
        (
            OutOfMemoryError("CUDA out of memory. Tried.\nGPU 0 has ..."),
            "not enough memory: CUDA out",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), "not enough memory: [enfo"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_full_disk_or_memory_is_the_machines_fault(
    error: Exception, words: str, fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(error))
    assert cli.main(["fake"]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {words}")
    assert len(err.splitlines()) == 2


def test_torch_says_out_of_memory_as_expected_here(
    fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    fake(lambda _: torch.empty(1 << 60, dtype=torch.uint8))
    assert cli.main(["fake"]) == 6
    assert capsys.readouterr().err.startswith("error: not enough memory: ")
    assert issubclass(torch.OutOfMemoryError, RuntimeError)
    assert torch.OutOfMemoryError.__name__ == OutOfMemoryError.__name__


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("division by zero\nmore"), RuntimeError(""), FileNotFoundError(2, "")]
)
def test_a_bug_of_ours_says_so_and_keeps_the_traceback(
    error: Exception,
    fake: Callable[[Body], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    temporary_folder: Callable[[Path], None],
) -> None:
    temporary_folder(tmp_path)
    fake(raising(error))
    assert cli.main(["fake"]) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert f"bug in animepggan: {type(error).__name__}: " in err
    (saved,) = tmp_path.iterdir()
    assert str(saved) in err
    text = saved.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert __version__ in text


def test_a_bug_of_ours_where_nothing_can_be_written(
    fake: Callable[[Body], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    temporary_folder: Callable[[Path], None],
) -> None:
    temporary_folder(tmp_path / "missing")
    fake(raising(ZeroDivisionError()))
    assert cli.main(["fake"]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("error", [errors.DataError("wrong"), ZeroDivisionError("wrong"), MemoryError("wrong")])
def test_debug_shows_the_traceback(
    error: Exception,
    fake: Callable[[Body], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    temporary_folder: Callable[[Path], None],
) -> None:
    temporary_folder(tmp_path)
    fake(raising(error))
    plain = cli.main(["fake"])
    assert "Traceback" not in capsys.readouterr().err
    for file in tmp_path.iterdir():
        file.unlink()
    assert cli.main(["fake", "--debug"]) == plain
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert type(error).__name__ in err
    assert "error: " in err
    assert list(tmp_path.iterdir()) == []


def test_debug_counts_wherever_it_stands(fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]) -> None:
    fake(nothing)
    assert cli.main(["fake", "--count", "0", "--debug"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_control_characters_of_a_message_do_not_reach_the_terminal(
    fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(errors.DataError("\x1b[2Jcleared\x07 \x9b31m 猫.png\nline")))
    cli.main(["fake"])
    assert capsys.readouterr().err == "error: \\x1b[2Jcleared\\x07 \\x9b31m 猫.png\nline\n"


# Usage


@pytest.mark.parametrize(
    ("arguments", "first", "second"),
    [
        (["fak"], "No such verb 'fak'. Did you mean 'fake'?", "see `animepggan --help`"),
        (["xyzzy"], "No such verb 'xyzzy'.", "see `animepggan --help`"),
        (["--verison"], "No such option '--verison'. Did you mean '--version'?", "see `animepggan --help`"),
        (["recipes", "lst"], "No such command 'lst'. Did you mean 'list'?", "see `animepggan recipes --help`"),
        (["fake", "--cuont", "3"], "No such option '--cuont'. Did you mean '--count'?", "see `animepggan fake --help`"),
        (["fake", "--count", "0"], "Invalid value for '--count': 0 is not in the range x>=1.", "see `animepggan fake"),
        (["fake", "--count"], "Option '--count' requires an argument.", "see `animepggan --help`"),
        (
            ["fake", "--precision", "fp8"],
            "Invalid value for '--precision': 'fp8' is not one of",
            "see `animepggan fake",
        ),
        (["fake", "extra"], "Got unexpected extra argument", "see `animepggan fake --help`"),
    ],
)
def test_a_usage_error_is_short_and_points_to_the_help(
    arguments: list[str], first: str, second: str, fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(nothing)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"error: {first}")
    assert lines[1].startswith(second)


@pytest.mark.parametrize("option", ["--json", "--debug", "--quiet"])
def test_a_common_option_before_the_verb_is_sent_behind_it(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([option, "sample"]) == 2
    assert capsys.readouterr().err == f"error: {option} goes after the verb: `animepggan VERB {option}`\n"


# The console


def test_the_result_goes_to_stdout_and_the_rest_to_stderr(
    fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body(console: Console) -> None:
        console.say("said")
        console.warn("warned")
        with console.bar(3, "img", "drawing") as bar:
            bar.update(3)
        console.result("a\nb", {"paths": [Path("a"), Path("b")], "seed": 1})

    fake(body)
    assert cli.main(["fake"]) == 0
    assert capsys.readouterr() == ("a\nb\n", "said\nwarning: warned\n")
    assert cli.main(["fake", "--quiet"]) == 0
    assert capsys.readouterr() == ("a\nb\n", "warning: warned\n")
    assert cli.main(["fake", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"paths": ["a", "b"], "seed": 1}
    assert err == "said\nwarning: warned\n"


def test_a_failing_verb_with_json_leaves_stdout_empty(
    fake: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(errors.ModelError("wrong")))
    assert cli.main(["fake", "--json"]) == 4
    assert capsys.readouterr() == ("", "error: wrong\n")


def test_a_number_that_json_does_not_know_is_no_result() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Console(json=True).result("", {"loss": float("nan")})


def test_no_text_prints_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result("", [])
    assert capsys.readouterr().out == ""


def test_context_and_common_options_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    @click.command()
    @click.pass_context
    @common_options
    def command(console: Console, context: click.Context, /) -> None:
        seen.extend([console, context.info_name])
        context.exit(1)

    install_command(command, monkeypatch)
    assert cli.main(["fake", "--quiet"]) == 1
    assert seen == [Console(quiet=True), "fake"]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a verb `fake` with the shared options was called with."""
    seen: dict[str, object] = {}

    @click.command()
    @device_options
    @output_option("samples/")
    @common_options
    def command(console: Console, /, **options: object) -> None:
        seen.update(options)

    install_command(command, monkeypatch)
    return seen


def test_shared_options(shared: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake"]) == 0
    assert shared == {"device": "auto", "threads": None, "output": None}
    assert cli.main(["fake", "--device", "cuda:1", "--threads", "2", "-o", "out"]) == 0
    assert shared == {"device": "cuda:1", "threads": 2, "output": Path("out")}
    assert cli.main(["fake", "--help"]) == 0
    text = capsys.readouterr().out
    assert "[default: samples/]" in text
    assert text.index("--output") < text.index("--json")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0:1", ""])
def test_a_device_that_does_not_exist_anywhere(
    device: str, shared: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fake", "--device", device]) == 2
    assert "none of auto, cpu, cuda, cuda:N, mps" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_number_of_threads_is_a_number(
    threads: str, shared: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fake", "--threads", threads]) == 2
    assert "--threads" in capsys.readouterr().err


def test_devices_of_this_machine(gpus: Callable[[int], None]) -> None:
    torch = pytest.importorskip("torch")
    assert resolve_device("cpu") == torch.device("cpu")
    gpus(0)
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(click.BadParameter, match="torch finds"):
            resolve_device(name)
    gpus(2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(click.BadParameter, match="2 CUDA devices"):
        resolve_device("cuda:2")


def test_threads_of_torch() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        apply_threads(before + 1)
        assert torch.get_num_threads() == before + 1
        apply_threads(None)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


# The process


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = animepggan("--help", capture_output=False, stdout=writing, stderr=subprocess.PIPE, env=environment)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


VERB = """
import sys, types, click
from animepggan import cli
from animepggan.cli.common import common_options
@click.command()
@common_options
def command(console):
{body}
sys.modules["animepggan.cli.fake"] = types.ModuleType("fake")
sys.modules["animepggan.cli.fake"].command = command
cli.VERBS["fake"] = ""
sys.exit(cli.main(["fake"]))
"""


def program(body: str) -> list[str]:
    """The command of a process whose verb runs `body`."""
    return [sys.executable, "-c", VERB.format(body="\n".join(f"    {line}" for line in body.splitlines()))]


def test_the_verb_goes_on_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    done_file = tmp_path / "done"
    reading, writing = os.pipe()
    os.close(reading)
    body = f"console.say('a')\nconsole.result('b', 0)\nconsole.say('c')\nopen({str(done_file)!r}, 'w').close()"
    try:
        done = subprocess.run(program(body), check=False, stdout=writing, stderr=writing, timeout=60)
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert done_file.exists()


def test_a_broken_pipe_that_is_not_stdout_is_a_bug(tmp_path: Path) -> None:
    broken = program("raise BrokenPipeError(32, 'a child died')")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(broken, check=False, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 70
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "body", ["console.result('a', 0)", "print('a')", "print(click.get_current_context().get_help())"]
)
def test_a_result_that_does_not_fit_on_the_disk(body: str, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            program(body), check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=60
        )
    assert done.returncode == 6
    assert done.stderr.startswith("error: no space left on the disk\n")
    assert len(done.stderr.splitlines()) == 2


WAIT = """import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
console.result("ready", 0)
while True:
    time.sleep(0.01)"""
"""Short naps: a signal that arrives just before a long one is seen only after it."""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_control_c_in_a_verb() -> None:
    with subprocess.Popen(program(WAIT), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == b"interrupted"


def test_an_interrupt_while_an_error_is_reported(fake: Callable[[Body], None]) -> None:
    class SlowError(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    fake(raising(SlowError()))
    assert cli.main(["fake"]) == 130


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs a file system of bytes")
def test_a_file_name_that_is_not_text_comes_out_as_it_is() -> None:
    body = "import os\nconsole.result(os.fsdecode(b'caf\\xe9'), 0)"
    for encoding, expected in (("utf-8", b"caf\xe9\n"), ("ascii", b"caf\\udce9\n")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(program(body), check=True, capture_output=True, env=environment)
        assert done.stdout == expected


def test_closed_streams_are_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m animepggan --help >&- 2>&-"], check=False, capture_output=True
    )
    assert done.returncode == 0
