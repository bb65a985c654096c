"""Every Python program in README.md runs on a run like the one that it names."""

import os
import re
import subprocess
import sys

import pytest

from cli_tools import SOURCE, headscope

SNIPPETS = re.findall(r"^```python\n(.*?)^```$", (SOURCE / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_readme_has_programs():
    assert len(SNIPPETS) >= 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with what README's commands leave, of a shorter run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "scripts").symlink_to(SOURCE / "scripts")
    headscope("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", "train.steps=150", "eval.every=50",
              "log.attention=50", cwd=folder)
    headscope("ablate", "runs/lag_mixture-s0", cwd=folder)
    headscope("sweep", SOURCE / "experiments" / "configs" / "lag_mixture.toml", "model.num_heads=2,4", "seed=0..2",
              "train.steps=20", "eval.every=10", cwd=folder)
    return folder


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet(snippet, folder):
    before = set(folder.iterdir())
    result = subprocess.run([sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", snippet], cwd=folder,
                            capture_output=True, text=True, timeout=120, env={**os.environ, "MPLBACKEND": "Agg"})
    assert result.returncode == 0, f"{snippet}\n{result.stdout}\n{result.stderr}"
    assert result.stdout or set(folder.iterdir()) > before, "it shows nothing"
    assert "nan" not in result.stdout.lower().replace("null", "")
    print(result.stdout)
