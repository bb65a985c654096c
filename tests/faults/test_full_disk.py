"""A real disk that is full: it takes root to make one, in a mount namespace of its own."""

import os
import shutil
import subprocess

import pytest

from cli_tools import BINARY, assert_same_runs
from disk import LONG, RICH, make_config, tiny

MAKE_DISK = {
    "tmpfs": "mount -t tmpfs -o size=2m tmpfs disk",
    "ext4": "truncate -s 4M image && mkfs.ext4 -q -m 0 -O ^has_journal image && mount -o loop image disk",
}

# Fills the disk but for $2 KiB, trains until it is full, makes room and goes on.
SCRIPT = """
set -e
cd "$1"
mkdir disk
{make_disk} || exit 99
room=$2; config=$3; shift 3
free() {{ stat -f -c '%a * %S / 1024' disk | sed 's/.*/echo $((&))/' | sh; }}
dd if=/dev/zero of=disk/ballast bs=1K count=$(($(free) - room)) status=none
"$BINARY" run "$config" "$@" --threads 1 --out disk/run >/dev/null 2>error && code=0 || code=$?
mkdir left
cp -a disk/. left
rm disk/ballast left/ballast
if [ -e disk/run/config.toml ]; then
    "$BINARY" resume disk/run --threads 1 >/dev/null
else
    "$BINARY" run "$config" "$@" --threads 1 --out disk/run >/dev/null
fi
cp -a disk/run run
exit $code
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def whole(config):
    run = config.parent / "whole"
    assert tiny("run", config, *RICH, "--out", run).returncode == 0
    return run


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("disk", MAKE_DISK)
def test_run_goes_on_after_the_disk_was_full(disk, config, whole, tmp_path):
    used = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 1024
    ends = []
    for room in range(0, used + 200, 12 if LONG else 48):
        folder = tmp_path / str(room)
        folder.mkdir()
        result = subprocess.run(
            ["unshare", "-m", "sh", "-c", SCRIPT.format(make_disk=MAKE_DISK[disk]), "sh", folder, str(room), config,
             *RICH], env={**os.environ, "BINARY": BINARY}, capture_output=True, text=True, timeout=120)
        if result.returncode in (1, 99) and not (folder / "error").exists():
            pytest.skip(f"no {disk} can be mounted here: {result.stderr.strip()}")
        ends.append(result.returncode)
        assert result.returncode in (0, 74), result.stderr
        if result.returncode == 74:
            error = (folder / "error").read_text().splitlines()[-1]
            assert error.startswith("headscope: disk/run") and "No space left on device; free some space" in error
            assert not list((folder / "left").rglob(".*")), "temporary files left behind"
        assert_same_runs(whole, folder / "run")
        shutil.rmtree(folder)
    assert ends[0] == 74 and ends[-1] == 0 and ends.count(74) > 3, ends
