"""What a power cut may leave of a folder, from a trace of all that was done to it (io_faults.c).

The disk modelled here promises what POSIX does and no more. fsync of a file makes its bytes last, fsync of a folder its
names. Of all that came later any part may be there: of a file each block of 512 bytes, or zeros, and any length; of a
folder each change of names, in their order. A rename is there as a whole or not at all.

Files are written whole, by another name, and renamed. The tail of a log alone grows, synced again and again.
"""

import os

BLOCK = 512


class File:
    def __init__(self, content=b""):
        self.lasting = content
        self.content = content

    def sync(self):
        self.lasting = self.content

    def after_a_cut(self, random):
        if self.content == self.lasting or random.random() < 0.3:
            return self.lasting
        size = random.choice([len(self.content), random.randint(len(self.lasting), len(self.content))])
        result = bytearray(self.lasting[:size].ljust(size, b"\0"))
        for at in range(0, size, BLOCK):
            if random.random() < 0.5:
                result[at:at + BLOCK] = self.content[at:min(at + BLOCK, size)]
        return bytes(result)


class Folder:
    def __init__(self):
        self.lasting = {}
        self.changes = []  # since then: {name: File, Folder or None}

    @property
    def content(self):
        return self.after_a_cut(None)

    def after_a_cut(self, random):
        """Names that are there; without `random` all of them."""
        names = dict(self.lasting)
        for change in self.changes:
            if random is None or random.random() < 0.5:
                names.update(change)
        return {name: item for name, item in names.items() if item is not None}

    def sync(self):
        self.lasting, self.changes = self.content, []


class Disk:
    """Of the folder `root`. Begins with the contents of the folder `source`, all of it lasting; then do() is told each
    call. `forgets`: File or Folder, whose fsync does nothing, to see that it is missed."""

    def __init__(self, root, source, forgets=None):
        self.root = str(root)
        self.forgets = forgets
        self.top = Folder()
        self.open = {}
        self.versions = {}  # path: contents that a rename has put there, oldest first
        self.promised = {}  # path: how many of them a completed fsync of the folder vouches for; unlinked: none
        for found in sorted(source.rglob("*")):
            path = f"{root}/{found.relative_to(source)}"
            item = Folder() if found.is_dir() else File(found.read_bytes())
            self.folder(os.path.dirname(path)).lasting[found.name] = item
            if isinstance(item, File):
                self.versions[path] = [item.content]
                self.promised[path] = 1

    def folder(self, path):
        item = self.top
        for name in path[len(self.root):].split("/"):
            item = item.content[name] if name else item
        return item

    def change(self, path, item):
        self.folder(os.path.dirname(path)).changes.append({os.path.basename(path): item})

    def do(self, name, *fields):
        if name == "mkdir":
            if fields[0] != self.root:
                self.change(fields[0], Folder())
        elif name == "open":
            assert fields[2] == "1", "only whole files are written"
            assert fields[1] not in self.tree(), "only new files are written"
            if is_tail(fields[1]):
                self.versions[fields[1]] = []
            self.open[fields[0]] = (fields[1], File())
            self.change(*self.open[fields[0]])
        elif name == "folder":
            self.open[fields[0]] = (fields[1], self.folder(fields[1]))
        elif name == "write":
            self.open[fields[0]][1].content += fields[1]
        elif name == "fsync":
            self.sync(*self.open[fields[0]])
        elif name == "close":
            del self.open[fields[0]]
        elif name == "rename":
            self.rename(*fields)
        elif name == "unlink":
            self.change(fields[0], None)
            self.promised.pop(fields[0], None)

    def sync(self, path, item):
        if is_tail(path):
            self.versions[path].append(item.content)
            if os.path.basename(path) in self.folder(os.path.dirname(path)).lasting:
                self.promised[path] = len(self.versions[path])
        if isinstance(item, Folder):
            for below in self.versions:
                if os.path.dirname(below) == path and os.path.basename(below) in item.content:
                    self.promised[below] = len(self.versions[below])
        if not isinstance(item, self.forgets or ()):
            item.sync()

    def rename(self, source, target):
        assert os.path.dirname(source) == os.path.dirname(target), "renamed within its folder"
        folder = self.folder(os.path.dirname(source))
        item = folder.content[os.path.basename(source)]
        folder.changes.append({os.path.basename(source): None, os.path.basename(target): item})
        self.versions.setdefault(target, []).append(item.content)
        self.promised.pop(source, None)

    def tree(self, random=None):
        """{path: bytes, or None for a folder}: with `random` after a power cut, without it what a killed process
        leaves."""
        result = {}

        def walk(folder, path):
            for name, item in folder.after_a_cut(random).items():
                if isinstance(item, Folder):
                    result[f"{path}/{name}"] = None
                    walk(item, f"{path}/{name}")
                else:
                    result[f"{path}/{name}"] = item.content if random is None else item.after_a_cut(random)

        walk(self.top, self.root)
        return result

    def broken_promises(self, tree):
        """What is wrong with a tree: files that are no whole version of themselves, files lost or older than vouched
        for. Temporary files may be anything."""
        wrong = []
        for path, content in tree.items():
            if content is None or is_temporary(path):
                continue
            if is_tail(path):
                if path in self.promised and not content.startswith(self.versions[path][self.promised[path] - 1]):
                    wrong.append(f"{path} is torn")
            elif content not in self.versions.get(path, []):
                wrong.append(f"{path} is torn")
            elif content not in self.versions[path][self.promised.get(path, 1) - 1:]:
                wrong.append(f"{path} is older than promised")
        return wrong + [f"{path} is lost" for path in self.promised if path not in tree and not is_temporary(path)]


def is_temporary(path):
    """What has not been promised: also the log of a fork that is not made yet."""
    return os.path.basename(path).startswith((".", "unfinished.h5"))


def is_tail(path):
    return path.endswith(".h5.tail")


def write_tree(tree, root, folder):
    """Makes a tree of paths below `root` in the new folder `folder`."""
    folder.mkdir(parents=True)
    for path, content in tree.items():
        target = folder / path[len(str(root)) + 1:]
        if content is None:
            target.mkdir()
        else:
            target.write_bytes(content)
