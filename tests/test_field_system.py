"""What systems refuse: locks, long names, folders where files are, homes that are not there; and what Windows lacks."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animepggan import checkpoint, cli, disk
from animepggan.corpus.source import Entry, Source
from animepggan.corpus.sweep import sweep
from animepggan.errors import ModelError, RecipeError, ResourceError, resource_error
from animepggan.report.log import Log, read_log

Run = Callable[..., tuple[int, str, str]]
TINY = ["resolution=8", "network.fmap_max=16", "schedule.fade_kimg=0.02", "schedule.stabilize_kimg=0.02"]
PRETRAIN = [
    "pretrain",
    "demo",
    "--threads",
    "1",
    *(word for key in (*TINY, "schedule.batch_size=8") for word in ("--set", key)),
]


def pictures(folder: Path, count: int = 10) -> Path:
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(chance.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a verb in a folder with ten pictures in set/: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "cache"))
    pictures(tmp_path / "set")

    def called(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(list(arguments))
        return code, *capsys.readouterr()

    return called


# ---------------------------------------------------------------- what the system says


REFUSED = (
    "EIO ESTALE EFBIG EMFILE ENFILE EROFS EACCES EPERM ELOOP ENOLCK EOPNOTSUPP ENAMETOOLONG ENODEV ENXIO ETIMEDOUT "
    "EHOSTDOWN ENOTCONN EREMOTEIO EINVAL ENOENT EBUSY EDQUOT ENOSPC ENOSYS"
)


@pytest.mark.parametrize("name", REFUSED.split())
def test_what_the_system_refuses_is_no_bug_of_ours(name: str) -> None:
    number = getattr(errno, name)
    found = resource_error(OSError(number, os.strerror(number), "out/x"))
    assert isinstance(found, ResourceError)
    first, *advice = str(found).splitlines()
    assert "out/x" in first
    assert 1 <= len(advice) <= 2


@pytest.mark.parametrize("name", ["ENOTDIR", "EISDIR", "EEXIST"])
def test_a_file_for_a_folder_is_a_wrong_name(name: str) -> None:
    number = getattr(errno, name)
    assert isinstance(resource_error(OSError(number, os.strerror(number), "x")), RecipeError)


def test_what_only_we_can_have_done_is_a_bug() -> None:
    assert resource_error(OSError(errno.EBADF, "Bad file descriptor")) is None
    assert resource_error(OSError("cannot write mode F as PNG")) is None
    assert resource_error(ValueError("x")) is None


VERBS = {
    "check": ["data", "check", "set", "--backbone", "none", "--workers", "0"],
    "crop": ["data", "crop", "set", "--detector", "animeface", "--workers", "0"],
    "demo": ["data", "demo", "yui", "--count", "2"],
    "pretrain": [*PRETRAIN, "--data", "set"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("trouble", ["too long", "file", "below a file", "loop"])
def test_an_output_that_cannot_be_is_said_in_a_sentence(run: Run, tmp_path: Path, verb: str, trouble: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    output = {"too long": "桜" * 90, "file": "file", "below a file": "file/x", "loop": "loop/x"}[trouble]
    code, _, err = run(*VERBS[verb], "-o", output)
    assert code in ({6} if trouble == "too long" else {2, 3, 6}), err
    assert 1 <= len(err.strip().splitlines()) <= 4
    assert "bug" not in err


@pytest.mark.parametrize("verb", ["check", "crop", "pretrain"])
def test_a_folder_of_a_long_name_is_a_set_like_another(run: Run, tmp_path: Path, verb: str) -> None:
    (tmp_path / "set").rename(tmp_path / ("桜" * 84))
    words = ["桜" * 84 if word == "set" else word for word in VERBS[verb]]
    code, _, err = run(*words)
    assert code == (3 if verb == "crop" else 0), err  # noise has no faces


def test_a_run_may_have_a_name_as_long_as_names_are(run: Run, tmp_path: Path) -> None:
    name = "x" * 255
    assert run(*VERBS["pretrain"], "-o", name)[0] == 0
    assert run("sample", name, "--count", "1", "-o", "drawn")[0] == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_not_the_fault_of_a_picture(number: int) -> None:
    def open_it() -> None:
        raise OSError(number, os.strerror(number))

    source = Source.of([Entry("a.png", open_it)])  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Too many open files"):
        list(sweep(source.entries, lambda *_: None, workers=0))


def test_a_line_of_the_log_that_cannot_be_written_ends_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(tmp_path, 0, tensorboard=False)
    real = log._file.write
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):

        class Full:
            name = "log.jsonl"

            def write(self, data: bytes) -> int:
                real(data[:5])
                raise OSError(errno.ENOSPC, "No space left on device")

        file = log._file
        patch.setattr(log, "_file", Full())
        log.write({"images_seen": 1})
        patch.setattr(log, "_file", file)
    log.write({"images_seen": 2})
    log.close()
    assert [record["images_seen"] for record in read_log(tmp_path, 9)] == [2]
    assert "a line is lost: No space left" in caplog.text


# ---------------------------------------------------------------- file systems


def test_fsync_is_done_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Callable[[int], None]:
        def fsync(_: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    for number in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
        monkeypatch.setattr(os, "fsync", refuse(number))
        disk.write_text(tmp_path / "a", str(number), sync=True)
        assert (tmp_path / "a").read_text() == str(number)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="error"):
        disk.write_text(tmp_path / "a", "lost", sync=True)


def test_a_cache_that_is_whole_is_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache on a medium that nobody may write to (root may write to any folder, so the calls are made to refuse)."""
    assert run(*VERBS["pretrain"], "-o", "one")[0] == 0
    cache = str(disk.cache_folder())

    def guarded(name: str) -> None:
        real = getattr(os, name)

        def call(path: object, *arguments: object, **options: object) -> object:
            writes = name != "open" or bool(int(str(arguments[0])) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(cache):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("open", "mkdir", "unlink", "rename", "replace"):
        guarded(name)
    assert run(*VERBS["pretrain"], "-o", "two")[0] == 0


# ---------------------------------------------------------------- homes


def test_a_home_is_spelled_out_wherever_a_path_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    pictures(home / "set")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ANIMEPGGAN_CACHE", "~/cache")
    assert run("recipes", "copy", "demo", "~/r.yaml")[0] == 0
    assert run("pretrain", "~/r.yaml", *PRETRAIN[2:], "--data=~/set", "--output=~/run")[0] == 0
    assert run("sample", "~/run", "--count", "1", "--output=~/drawn")[0] == 0
    code, out, _ = run("data", "check", "~/set", "--backbone", "none", "--json", "--output=~/checked")
    assert (code, json.loads(out)["sheet"]) == (0, str(home / "checked/sheet.html"))
    (home / "corpus.jsonl").write_text('{"path": "0.png"}\n')
    (home / "corpus.source.json").write_text('{"spec": "~/set"}')
    assert run("data", "check", "~/corpus.jsonl", "--backbone", "none", "--output=~/again")[0] == 0
    assert run("data", "crop", "~/set", "--landmarks=~/nowhere.jsonl", "--output=~/cut")[0] == 3
    assert (
        run("evaluate", "~/run", "--data=~/set", "--backbone", "none", "--count", "16", "--output=~/measured")[0] == 0
    )
    assert not (tmp_path / "~").exists()
    assert (home / "cache/pyramids").is_dir()
    assert (home / "measured/measures.json").is_file()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "~nobody-of-this-name"])
def test_nobodys_home_is_a_wrong_name(run: Run, tmp_path: Path, name: str) -> None:
    for words in VERBS.values():
        code, _, err = run(*words, f"--output={name}")
        assert (code, "there is no home folder ~nobody-of-this-name" in err) == (2, True)
    assert run("pretrain", name, "--data", "set")[0] == 2
    assert run("data", "check", name)[0] == 3
    assert run("sample", name)[0] == 4
    assert not list(tmp_path.glob("~*"))
    (tmp_path / "~nobody-of-this-name").mkdir()
    assert run(*VERBS["check"], f"--output={name}")[0] == 0  # a folder that is called so


def test_without_a_home_everything_works(tmp_path: Path) -> None:
    """As in a container whose user has a number only."""
    pictures(tmp_path / "set")
    code = (
        "import pwd, sys\n"
        "def getpwuid(number): raise KeyError(number)\n"
        "pwd.getpwuid = getpwuid\n"
        "from animepggan.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    gone = {"HOME", "XDG_CACHE_HOME", "ANIMEPGGAN_CACHE", "HF_HOME", "HF_HUB_CACHE"}
    env = {key: value for key, value in os.environ.items() if key not in gone}
    env |= {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(__file__).parents[1])}
    (tmp_path / "tmp").mkdir()
    for words in (VERBS["pretrain"], ["doctor"], ["recipes", "list"]):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "~").exists()
    assert len(list((tmp_path / "tmp").glob("animepggan-*/pyramids"))) == 1


# ---------------------------------------------------------------- text that others rewrote


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: json.dumps(json.loads(text), indent=4),
        lambda text: text.rstrip(),
    ],
    ids=["CRLF", "BOM", "indented", "no newline"],
)
def test_a_checkpoint_whose_text_was_rewritten_is_the_same(
    run: Run, tmp_path: Path, rewrite: Callable[[str], str]
) -> None:
    assert run(*VERBS["pretrain"], "-o", "run")[0] == 0
    folder = tmp_path / "run/checkpoints/stage-0008"
    for file in (*folder.glob("*.json"), tmp_path / "run/status.json"):
        file.write_text(rewrite(file.read_text()), newline="")
    recipe = tmp_path / "run/recipe.yaml"
    recipe.write_text("\ufeff" + recipe.read_text().replace("\n", "\r\n"), newline="")
    checkpoint.verify(folder)
    assert run("sample", "run", "--count", "1", "-o", "drawn")[0] == 0
    assert run(*VERBS["pretrain"], "-o", "run")[0] == 0
    changed = json.loads((folder / "config.json").read_text("utf-8-sig"))
    changed["position"]["images_seen"] += 1
    (folder / "config.json").write_text(json.dumps(changed, indent=2) + "\n")
    with pytest.raises(ModelError, match=r"config\.json: damaged"):
        checkpoint.verify(folder)


# ---------------------------------------------------------------- Windows


def test_training_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    """Without the modules, calls and signals that are not there; folders cannot be opened."""
    pictures(tmp_path / "C:" / "set")
    code = """
import os, select, signal, sys
import psutil  # of this system, which needs `resource` here
sys.modules["resource"] = sys.modules["pwd"] = sys.modules["grp"] = None
for module, names in (
    (os, ("sched_getaffinity", "fork", "getpgid", "killpg")),
    (select, ("poll",)),
    (signal, ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGALRM", "SIGQUIT", "SIGTSTP", "pause", "alarm")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
real = os.open
def open_file(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return real(path, *arguments, **options)
os.open = open_file
from animepggan.cli import main
for words in sys.argv[1].split("|"):
    code = main(words.split())
    if code:
        sys.exit(code)
"""
    trained = " ".join([*PRETRAIN, "--data", "C:/set", "-o", "C:/runs/a"])
    sampled = "sample C:/runs/a --count 1 -o C:/drawn"
    checked = "data check C:/set --backbone none --workers 0 -o C:/checked"
    env = os.environ | {"ANIMEPGGAN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, f"{trained}|{trained}|{sampled}|{checked}"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "C:/runs/a/checkpoints/stage-0008/manifest.json").is_file()
    assert len(list((tmp_path / "C:/drawn").glob("*.png"))) == 1
