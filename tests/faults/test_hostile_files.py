"""HDF5 files made to mislead their reader: a clear error, little memory, nothing written, nothing else read."""

import resource
import shutil
import signal

import h5py
import numpy as np
import pytest

from cli_tools import headscope, write_config, write_tokens
from test_bad_input import contents
from test_verify import seal_checkpoint, seal_log

VOCAB, T = 7, 6
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=4",
         "log.every=1", "log.probes.grad_norm=1", "log.probes.overlap=2", "log.probes.role=2"]
MOST_MEMORY = 512 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_tokens(folder / "train.h5", 2, 3, T, VOCAB, seed=12)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T)
    headscope("run", "c.toml", *SMALL, "--out", "run", cwd=folder)
    (folder / "secret.bin").write_bytes(np.zeros(36, np.int64).tobytes())
    with h5py.File(folder / "other.h5", "w") as other:
        other["values"] = np.zeros((2, 3, T), np.int64)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T)
    return tmp_path


def at_most(size):
    """Half a gigabyte is the limit; what is mapped but not used, such as threads' stacks, comes on top."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return limit


def refuse(folder, *arguments, names, codes=(2, 74)):
    """`names`: words of which the error says one."""
    before = contents(folder)
    result = headscope(*arguments, cwd=folder, expect=None, preexec_fn=at_most(MOST_MEMORY))
    assert result.returncode in codes, (result.returncode, result.stdout, result.stderr)
    lines = result.stderr.splitlines()
    assert lines and all(line.startswith("headscope: ") for line in lines), result.stderr
    assert any(name in result.stderr for name in names.split()), result.stderr
    assert contents(folder) == before
    return result.stderr


# --- what may stand in place of a dataset ---

def external_link(file, name):
    file[name] = h5py.ExternalLink("other.h5", "/values")


def external_storage(file, name):
    parent, leaf = name.rsplit("/", 1)
    file[parent or "/"].create_dataset(leaf, (2, 3, T), np.int64, external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])


def virtual(file, name):
    layout = h5py.VirtualLayout((2, 3, T), np.int64)
    layout[...] = h5py.VirtualSource("other.h5", "values", (2, 3, T))
    file.create_virtual_dataset(name, layout)


def loop_of_links(file, name):
    file[name] = h5py.SoftLink("/loop")
    file["/loop"] = h5py.SoftLink(name)


def dangling_link(file, name):
    file[name] = h5py.SoftLink("/nowhere")


def huge(file, name):
    file.create_dataset(name, (10**13, 10, 10), np.int64, chunks=(1, 10, 10))


def huge_compressed(file, name):
    data = file.create_dataset(name, (10**13, 10, 10), np.int64, chunks=(100, 10, 10), compression="gzip")
    data[0] = 1


def overflowing(file, name):
    file.create_dataset(name, (2**31, 2**31, 2**31 + 1), np.int64, chunks=(1, 1, 1))


def never_written(file, name):
    file.create_dataset(name, (2**20, 3, T), np.int64)


def texts(file, name):
    file[name] = np.array(["a", "b"], dtype=h5py.string_dtype())


def fixed_texts(file, name):
    file[name] = np.array([b"abc", b"defg"])


def compound(file, name):
    file[name] = np.zeros((2, 3, T), [("a", np.int64), ("b", np.float64)])


def big_endian(file, name):
    file[name] = np.zeros((2, 3, T), ">i8")


def small_integers(file, name):
    file[name] = np.zeros((2, 3, T), np.int32)


def booleans(file, name):
    file[name] = np.zeros((2, 3, T), bool)


def ragged(file, name):
    data = file.create_dataset(name, (3,), h5py.vlen_dtype(np.int64))
    data[0] = [1, 2, 3]


def references(file, name):
    data = file.create_dataset(name, (2, 3, T), h5py.ref_dtype)
    data[0, 0, 0] = file.ref


def group(file, name):
    file.create_group(name)


def deep_groups(file, name):
    inner = file.create_group(name)
    for _ in range(10_000):
        inner = inner.create_group("g")


def group_in_itself(file, name):
    inner = file.create_group(name)
    inner["again"] = inner


def empty(file, name):
    file[name] = np.zeros((0, 3, T), np.int64)


def null(file, name):
    file[name] = h5py.Empty(np.int64)


def named_type(file, name):
    file[name] = np.dtype(np.int64)


def seven_axes(file, name):
    file[name] = np.zeros((1, 2, 1, 3, 1, 2, 1), np.int64)


def unknown_filter(file, name):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, 3, T))
    properties.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple((2, 3, T))
    data = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_INT64, space, properties))
    data.id.write_direct_chunk((0, 0, 0), b"\1" * 50)
    data.id.write_direct_chunk((1, 0, 0), b"\1" * 50)


REPLACEMENTS = [external_link, external_storage, virtual, loop_of_links, dangling_link, huge, huge_compressed,
                overflowing, never_written, texts, fixed_texts, compound, big_endian, small_integers, booleans, ragged,
                references, group, deep_groups, group_in_itself, empty, null, named_type, seven_axes, unknown_filter]
every_replacement = pytest.mark.parametrize("replacement", REPLACEMENTS, ids=lambda make: make.__name__)


def replace(path, name, replacement):
    """Rewrites the file, since HDF5 keeps the place of what was deleted."""
    with h5py.File(path, "r+") as file:
        del file[name]
        replacement(file, name)


# --- tokens ---

# Of a user's tokens, integers of every kind are good (test_token_types.py).
NO_TOKENS = [make for make in REPLACEMENTS if make not in (big_endian, small_integers)]


@pytest.mark.parametrize("replacement", NO_TOKENS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["/inputs", "/targets"])
def test_tokens(name, replacement, folder):
    replace(folder / "train.h5", name, replacement)
    refuse(folder, "run", "c.toml", *SMALL, "--out", "new", names="train.h5")
    refuse(folder, "trace", "run", "--tokens", "train.h5", "-o", "out.h5", names="train.h5")


@pytest.mark.parametrize("replacement", NO_TOKENS, ids=lambda make: make.__name__)
def test_streams(replacement, folder):
    with h5py.File(folder / "stream.h5", "w") as file:
        replacement(file, "/tokens")
    refuse(folder, "run", "c.toml", *SMALL, "task.stream=true", "task.path=stream.h5", "--out", "new", names="stream.h5")


@pytest.mark.parametrize("size", [512, 4096])
def test_tokens_behind_a_user_block(size, folder):
    """HDF5 allows one; it changes nothing."""
    (folder / "train.h5").rename(folder / "old.h5")
    with h5py.File(folder / "old.h5") as old, h5py.File(folder / "train.h5", "w", userblock_size=size) as new:
        for name in ("inputs", "targets"):
            new[name] = old[name][()]
    with open(folder / "train.h5", "r+b") as file:
        file.write(b"headscope checkpoint\n" * 20)
    headscope("trace", "run", "--tokens", "train.h5", "-o", "out.h5", cwd=folder)


def test_tokens_of_a_strange_company(folder):
    """What else lies in the file does not matter, as long as it does not lead out of it."""
    with h5py.File(folder / "train.h5", "r+") as file:
        for make in (compound, texts, ragged, references, group, huge, big_endian):
            make(file, f"/{make.__name__}")
        file.attrs["schema_name"] = np.nan
        file["inputs"].attrs["units"] = np.array([np.nan, np.inf])
    headscope("trace", "run", "--tokens", "train.h5", "-o", "out.h5", cwd=folder, preexec_fn=at_most(MOST_MEMORY))


def test_tokens_below_a_program_that_ignores_its_children(folder):
    ignore = lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # noqa: E731
    headscope("trace", "run", "--tokens", "train.h5", "-o", "out.h5", cwd=folder, preexec_fn=ignore)


# --- checkpoints and logs, under checksums that fit ---

@every_replacement
@pytest.mark.parametrize("name", ["/model/head.weight", "/model", "/optimizer/head.weight", "/trainer"])
def test_checkpoint(name, replacement, folder):
    checkpoint = folder / "run" / "checkpoints" / "step-00000004.h5"
    replace(checkpoint, name, replacement)
    seal_checkpoint(checkpoint)
    if not (name == "/optimizer/head.weight" and replacement is group):  # empty; trace needs no optimizer
        refuse(folder, "trace", "run", "--step", 4, "--tokens", "train.h5", "-o", "out.h5",
               names="step-00000004.h5 load_state_dict")
    refuse(folder, "verify", "run", names="verify", codes=(1,))


@every_replacement
@pytest.mark.parametrize("name", ["/train/loss", "/heads/grad_norm/value", "/heads/overlap", "/task"])
@pytest.mark.parametrize("sealed", [True, False])
def test_log(sealed, name, replacement, folder):
    """`inspect` may do without what was replaced, or refuse the log; `verify` finds out."""
    log = folder / "run" / "log.h5"
    with h5py.File(log, "r+") as file:
        if name in file:
            del file[name]
        replacement(file, name)
    if sealed:
        seal_log(log)
    before = contents(folder)
    result = headscope("inspect", "run", cwd=folder, expect=None, preexec_fn=at_most(MOST_MEMORY))
    assert result.returncode in (0, 2, 74), (result.returncode, result.stderr)
    assert result.returncode == 0 or "log.h5" in result.stderr or name in result.stderr, result.stderr
    assert contents(folder) == before
    # Under a seal that fits, /task may hold anything that can be read. Without one, nothing vouches for the log.
    result = headscope("verify", "run", cwd=folder, expect=None, preexec_fn=at_most(MOST_MEMORY))
    assert result.returncode in ((0, 1) if name == "/task" and sealed else (1,)), result.stdout + result.stderr


@pytest.mark.parametrize("name,value", [("state", np.nan), ("state", 3), ("seed", "text"), ("seed", np.nan),
                                        ("schema_version", np.nan), ("schema_name", [1, 2]),
                                        ("schema_name", h5py.Empty("S10"))])
def test_attributes_of_a_log(name, value, folder):
    log = folder / "run" / "log.h5"
    with h5py.File(log, "r+") as file:
        file.attrs[name] = value
    seal_log(log)
    refuse(folder, "inspect", "run", names="log.h5")
    refuse(folder, "verify", "run", names="verify", codes=(1,))


@pytest.mark.parametrize("name", ["step", "seed", "tokens_seen", "elapsed", "config_sha256"])
@pytest.mark.parametrize("value", [np.nan, "text", [1, 2, 3]])
def test_attributes_of_a_checkpoint(name, value, folder):
    checkpoint = folder / "run" / "checkpoints" / "step-00000004.h5"
    with h5py.File(checkpoint, "r+") as file:
        file["trainer"].attrs[name] = value
    seal_checkpoint(checkpoint)
    if not (name == "elapsed" and value is np.nan) and not (name == "config_sha256" and value == "text"):
        refuse(folder, "trace", "run", "--step", 4, "--tokens", "train.h5", "-o", "out.h5", names="step-00000004.h5")
    refuse(folder, "verify", "run", names="verify", codes=(1,))


def test_a_role_that_there_is_not(folder):
    log = folder / "run" / "log.h5"
    for code in (99, -1, np.nan):
        with h5py.File(log, "r+") as file:
            file["heads/role/value"][...] = code
        seal_log(log)
        refuse(folder, "inspect", "run", names="/heads/role/value")


@pytest.mark.parametrize("name", ["time", "kind", "message"])
def test_events_of_different_lengths(name, folder):
    log = folder / "run" / "log.h5"
    with h5py.File(log, "r+") as file:
        file["events/step"].resize(3, axis=0)
        for other in ("time", "kind", "message"):
            file[f"events/{other}"].resize(3 if other != name else 2, axis=0)
    seal_log(log)
    before = log.read_bytes()
    refused = headscope("resume", "run", "train.steps=6", cwd=folder, expect=74).stderr
    assert "/events" in refused and "log.h5" in refused
    assert log.read_bytes() == before
    refuse(folder, "verify", "run", names="verify", codes=(1,))


def test_a_floor_without_a_number(folder):
    log = folder / "run" / "log.h5"
    with h5py.File(log, "r+") as file:
        file["task/floors/none"] = np.zeros(0)
    seal_log(log)
    refuse(folder, "inspect", "run", names="/task/floors/none")


@pytest.mark.parametrize("replacement", [null, group, texts, empty, ragged])
@pytest.mark.parametrize("name", ["/events/step", "/train/step", "/parameters/name"])
def test_resume_of_a_log(name, replacement, folder):
    log = folder / "run" / "log.h5"
    replace(log, name, replacement)
    seal_log(log)
    before = log.read_bytes()
    result = headscope("resume", "run", "train.steps=6", cwd=folder, expect=None, preexec_fn=at_most(MOST_MEMORY))
    assert result.returncode in (2, 74) and "headscope: " in result.stderr, (result.returncode, result.stderr)
    assert log.read_bytes() == before
