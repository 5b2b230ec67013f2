"""Commands that need torch: what they print, and every piece of bad input in one clear line."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import atlas
from atlas.store import Store
from tests.cli.conftest import Ran

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
TINY = "tests.networks:tiny"
HASTY = [f"--set={setting}" for setting in ("size=32", "steps=2", "eval_draws=1", "relu_redirect_steps=0")]


def test_layers(run: Command) -> None:
    ran = run("layers", TINY)
    assert ran.code == 0
    assert "second.1" in ran.out
    assert "70" in ran.out


def test_plan_writes_nothing(run: Command, tmp_path: Path) -> None:
    ran = run("plan", TINY, "--layers", "all", "--store", tmp_path / "never")
    assert ran.code == 0
    assert "pictures of 160 px in 128 steps" in ran.out
    assert list(tmp_path.iterdir()) == []


def test_build_then_look(run: Command, tmp_path: Path) -> None:
    store = tmp_path / "tiny.atlas"
    ran = run("build", TINY, "--layers", "first.1:0-3,head", "--store", store, "--local", *HASTY)
    assert ran.code == 0, ran.err
    assert "84 pictures" in ran.out
    assert f"atlas serve {store}" in ran.out.replace("\n", "")
    assert list(atlas.open(store).layers) == ["first.1", "head"]
    again = run("build", TINY, "--layers", "first.1:0-3,head", "--store", store, "--local", *HASTY)
    assert "0 pictures" in again.out
    assert "84 were there before" in again.out
    assert run("status", store).code == 0
    assert run("verify", store).code == 0


def one_line(ran: Ran, *words: str) -> None:
    """The command failed with one line that has `words` in it."""
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1, ran.err
    for word in words:
        assert word in ran.err


def test_unknown_names_offer_the_nearest(run: Command, tmp_path: Path) -> None:
    place = ("--store", tmp_path / "s", "--local")
    one_line(run("build", "torchvision:resnet51", *place), "resnet51", "resnet50")
    one_line(run("build", "sqeezenet", *place), "squeezenet")
    one_line(run("build", TINY, "--layers", "secnd.1", *place), "secnd.1", "second.1")
    one_line(run("build", TINY, "--layers", "second.1:64-70", *place), "0 to 69")
    one_line(run("build", TINY, "--layers", "second.1:\u00b2", *place), "FIRST-LAST")
    one_line(run("build", TINY, "--layers", "second.1:64-", *place), "FIRST-LAST")
    one_line(run("build", TINY, "--recipe", "quik", *place), "quick")
    one_line(run("build", TINY, "--set", "stpes=3", *place), "steps")
    one_line(run("build", TINY, "--set", "steps=many", *place), "steps", "a whole number")
    one_line(run("build", TINY, "--set", "scale=1", *place), "scale", "two numbers")
    one_line(run("build", TINY, "--layers", " , ", *place), "--layers ' , ': it is empty")
    assert not (tmp_path / "s").exists()


def test_another_network_or_recipe_is_refused_with_what_differs(run: Command, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "s", "--layers", "head", "--local")
    assert run("build", TINY, *store, *HASTY).code == 0
    ran = run("build", TINY, *store, *HASTY, "--set", "steps=3")
    one_line(ran, "recipe.steps: 2 here, 3 asked")
    assert "size" not in ran.err
    one_line(run("build", "tests.networks:other", *store, *HASTY), "weights", "model")


def test_a_folder_that_is_no_store_or_cannot_be_written(run: Command, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    one_line(run("build", TINY, "--store", tmp_path / "full", "--local"), "not empty")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("mine")
    one_line(run("build", TINY, "--store", tmp_path / "file" / "s", "--local"), "cannot be written")
    one_line(run("build", TINY, "--store", "/proc/nowhere", "--local"), "cannot be written")


def test_weights_that_are_unsafe_or_do_not_fit(run: Command, tmp_path: Path) -> None:
    class Nasty:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "nasty.pt").write_bytes(pickle.dumps(Nasty()))
    one_line(run("layers", TINY, "--weights", tmp_path / "nasty.pt"), "nasty.pt")
    torch.save({"nasty": Nasty()}, tmp_path / "zipped.pt")
    one_line(run("layers", TINY, "--weights", tmp_path / "zipped.pt"), "zipped.pt")
    assert not (tmp_path / "owned").exists()
    torch.save({"head.weight": torch.zeros(3, 3), "stranger": torch.zeros(1)}, tmp_path / "other.pt")
    one_line(run("layers", TINY, "--weights", tmp_path / "other.pt"), "stranger", "head.weight", "first.0.weight")
    one_line(run("layers", TINY, "--weights", tmp_path / "nowhere.pt"), "nowhere.pt")


def test_a_network_that_fails_on_its_dry_run(run: Command) -> None:
    one_line(run("layers", "tests.networks:failing"), "mat1 and mat2", "head")
    one_line(run("layers", "tests.networks:absent"), "absent")
    one_line(run("layers", "tests.nowhere:tiny"), "tests.nowhere")


def test_no_cluster_at_the_address(run: Command, tmp_path: Path) -> None:
    one_line(run("build", TINY, "--store", tmp_path / "s", "--ray", "127.0.0.1:9"), "127.0.0.1:9", "no Ray cluster")
    one_line(run("plan", TINY, "--ray", "127.0.0.1:9"), "127.0.0.1:9", "no Ray cluster")
    one_line(run("plan", TINY, "--ray", "127.0.0.1:9", "--calibrate"), "--calibrate with --ray 127.0.0.1:9")


def test_ctrl_c_prints_the_line_that_goes_on(tmp_path: Path) -> None:
    store = tmp_path / "s"
    arguments = ["build", TINY, "--layers", "second.1", "--store", str(store), *HASTY, "--set=steps=100", "--workers=1"]
    # A shell's background jobs, and so these tests where they are one, ignore Ctrl-C; a user's build does not.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heed}; from atlas.cli import main; main()"
    building = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list((store / "receipts").rglob("*.json")):
        assert building.poll() is None
        time.sleep(0.05)
    os.killpg(building.pid, signal.SIGINT)
    _, err = building.communicate(timeout=60)
    assert building.returncode == 130
    assert err.splitlines()[-1].startswith("error: Stopped. What is finished is kept; to resume: atlas build")
    assert "Traceback" not in err
    again = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert "were there before" in again.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1,400 kB: a shard on its way takes twice its size. Root can mount one; anybody else cannot run this."""
    assert os.getuid() == 0, "the tests of a full disk mount a small one, which takes root"
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("where", ["--local", "--workers=1"])
def test_a_full_disk_keeps_what_is_finished(run: Command, small_disk: Path, where: str) -> None:
    store = small_disk / "s"
    settings = [*HASTY, "--set=size=64", "--set=level=100", "--set=deviation=0.01"]
    ran = run("build", TINY, "--layers", "second.1", "--store", store, where, *settings)
    assert ran.code == 1
    assert len(ran.complaints) == 1
    assert "No space is left" in ran.complaints[0]
    assert "Traceback" not in ran.err
    opened = Store.open(store)
    (plan,) = opened.plans()
    done = opened.receipts(plan)
    assert 0 < len(done) < len(plan.shards)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    ran = run("build", TINY, "--layers", "second.1", "--store", store, "--local", *settings)
    assert ran.code == 0, ran.err
    assert f"{64 * len(done)} were there before" in ran.out


def test_a_network_can_compute_in_bfloat16_while_pictures_are_made(run: Command, tmp_path: Path) -> None:
    command = ("build", TINY, "--layers", "first.1:0-3", "--store", tmp_path / "s", "--local", *HASTY)
    ran = run(*command, "--dtype", "bfloat16")
    assert ran.code == 0, ran.err
    (plan,) = Store.open(tmp_path / "s").plans()
    assert plan.numerics.dtype == "bfloat16"
    one_line(run(*command), "numerics.dtype: bfloat16 here, float32 asked")
    one_line(run(*command, "--dtype", "float16"), "float16", "bfloat16")


def test_a_build_uses_what_was_calibrated_for_its_store(run: Command, tmp_path: Path) -> None:
    hasty = [f"--set={setting}" for setting in ("size=32", "steps=2", "eval_draws=1", "relu_redirect_steps=0")]
    command = (TINY, "--layers", "head", "--store", tmp_path / "tiny.atlas", *hasty)
    ran = run("plan", *command, "--calibrate", "--batch", "3")
    assert ran.code == 0, ran.err
    assert "seconds a picture" in ran.out
    assert "cores" in ran.out
    assert "seconds a picture" in run("plan", *command).out, "it is kept"
    assert run("build", *command, "--local").code == 0
    store = Store.open(tmp_path / "tiny.atlas")
    assert [plan.numerics.batch for plan in store.plans_of("features")] == [3]
    assert run("verify", tmp_path / "tiny.atlas").code == 0
    alone = run("plan", TINY, "--layers", "head", *hasty, "--calibrate")
    assert "Build with --batch" in alone.out
