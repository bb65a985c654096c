"""A sweep as a job array: the batch script on its own, and on a real Slurm of one node (`scripts/test --long`)."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

from cli_tools import BINARY, assert_same_runs, headscope
from disk import LONG
from test_sweep import write_tiny_config

RUNS = 12
has_slurm = all(shutil.which(program) for program in ("munged", "slurmctld", "slurmd", "sbatch"))
on_slurm = pytest.mark.skipif(not LONG or not has_slurm or os.geteuid() != 0,
                              reason="daemons of Slurm are for `scripts/test --long`, as root")


def states(sweep):
    return [run["state"] for run in json.loads((sweep / "manifest.json").read_text())["runs"]]


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


def emitted(tmp_path, *arguments):
    config = write_tiny_config(tmp_path / "c.toml")
    headscope("sweep", config, "seed=0..2", "--out", tmp_path / "it's a sweep", "--emit", "slurm", *arguments)
    return tmp_path / "it's a sweep"


def test_the_script(tmp_path):
    sweep = emitted(tmp_path, "--jobs", 2, "--threads", 3)
    script = (sweep / "sweep.sbatch").read_text()
    for line in ("--array=0-2%2", "--cpus-per-task=3", "--open-mode=append", "--requeue", "--signal=TERM@120"):
        assert f"#SBATCH {line}\n" in script, line
    assert states(sweep) == ["waiting"] * 3
    assert "is a sweep" in headscope("sweep", sweep, expect=2).stderr
    (tmp_path / "other").mkdir()
    assert "#SBATCH --array=0-2\n" in (emitted(tmp_path / "other") / "sweep.sbatch").read_text()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_task_of_it(tmp_path, stopped):
    """With an srun that runs its command here, and a scontrol that notes what it is told."""
    sweep = emitted(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    executable(tools / "srun", "#!/bin/bash\nexit 75\n" if stopped else '#!/bin/bash\nexec "$@"\n')
    executable(tools / "scontrol", f'#!/bin/bash\necho "$@" >> "{tmp_path}/told"\n')
    task = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "9", "SLURM_CPUS_PER_TASK": "1",
            "PATH": f"{tools}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", sweep / "sweep.sbatch"], env={**os.environ, **task}, capture_output=True, text=True)
    if stopped:
        assert result.returncode == 75
        assert (tmp_path / "told").read_text() == "requeue 7_1\n"
    else:
        assert result.returncode == 0, result.stderr
        assert not (tmp_path / "told").exists()
        assert states(sweep) == ["waiting", "finished", "waiting"]


def test_begun_here_and_ended_there(tmp_path):
    """What has been trained here is not trained by the cluster."""
    sweep = emitted(tmp_path)
    headscope("sweep", sweep, "--task", 0)
    before = (sweep / "seed-0" / "log.h5").stat().st_mtime_ns
    headscope("sweep", sweep, "--resume", "--emit", "slurm")
    assert states(sweep) == ["finished", "waiting", "waiting"]
    tools = tmp_path / "tools"
    tools.mkdir()
    executable(tools / "srun", '#!/bin/bash\nexec "$@"\n')
    for task in range(3):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "PATH": f"{tools}:{os.environ['PATH']}"}
        subprocess.run(["bash", sweep / "sweep.sbatch"], env=environment, check=True, capture_output=True)
    assert states(sweep) == ["finished"] * 3
    assert (sweep / "seed-0" / "log.h5").stat().st_mtime_ns == before


def test_submit(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    config = write_tiny_config(tmp_path / "c.toml")
    command = [BINARY, "sweep", config, "seed=0..2", "--submit", "--out"]
    without = subprocess.run([*command, tmp_path / "a"], env={"PATH": str(tools)}, capture_output=True, text=True)
    assert without.returncode == 2 and "no sbatch here" in without.stderr
    executable(tools / "sbatch", "#!/bin/sh\necho Submitted $2\n")
    done = subprocess.run([*command, tmp_path / "b"], env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True,
                          text=True)
    assert done.returncode == 0 and f"Submitted {tmp_path}/b/sweep.sbatch\n" in done.stdout, done.stderr
    executable(tools / "sbatch", "#!/bin/sh\necho no such partition >&2\nexit 1\n")
    refused = subprocess.run([*command, tmp_path / "d"], env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True,
                             text=True)
    assert refused.returncode == 2 and "no such partition" in refused.stderr


class Cluster:
    """munged, slurmctld and slurmd of this machine alone, on loopback."""

    def __init__(self, folder):
        self.host = socket.gethostname().split(".")[0]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.folder = folder

    def start(self, stack):
        self.stack = stack
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        f = self.folder
        (f / "slurm.conf").write_text(f"""
ClusterName=local
SlurmctldHost={self.host}(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={f}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={f}/state
SlurmdSpoolDir={f}/spool
SlurmctldPidFile={f}/slurmctld.pid
SlurmdPidFile={f}/slurmd.pid
SlurmctldLogFile={f}/slurmctld.log
SlurmdLogFile={f}/slurmd.log
ReturnToService=2
MailProg=/bin/true
NodeName={self.host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=p Nodes={self.host} Default=YES MaxTime=INFINITE State=UP
""")
        daemons = [["munged", "--foreground", "--force", f"--socket={f}/munge.socket", f"--key-file={key}",
                    f"--log-file={f}/munged.log", f"--pid-file={f}/munged.pid", f"--seed-file={f}/munge.seed"],
                   ["slurmctld", "-D", "-f", f / "slurm.conf"],
                   ["slurmd", "-D", "-f", f / "slurm.conf", "-N", self.host]]
        for daemon in daemons:
            with open(f / f"{daemon[0]}.out", "w") as out:
                process = subprocess.Popen(daemon, stdout=out, stderr=out, env=self.environment)
            stack.callback(self.end, process)
            time.sleep(1)
        self.wait_for(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), 60, "the node is not up")

    @staticmethod
    def end(process):
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def ask(self, *command):
        result = subprocess.run([str(c) for c in command], env=self.environment, capture_output=True, text=True)
        return result.stdout

    def signal(self, task):
        """scancel tries on for a minute when the task has gone back into the queue meanwhile."""
        process = subprocess.Popen(["scancel", "--signal=TERM", task], env=self.environment, stderr=subprocess.DEVNULL)
        self.stack.callback(self.end, process)

    def wait_for(self, condition, seconds, what):
        end = time.time() + seconds
        while not condition():
            assert time.time() < end, f"{what}\n{self.ask('squeue')}\n{self.ask('sinfo', '-R')}"
            time.sleep(0.2)

    def tasks(self):
        """State by number of the task, of tasks that are alone in their line."""
        lines = self.ask("squeue", "-h", "-r", "-o", "%K %T").split("\n")
        return {int(line.split()[0]): line.split()[1] for line in lines if line}

    def free(self, job):
        """A task that was put back waits for two minutes before it begins again; here it need not."""
        for task in self.tasks():
            self.ask("scontrol", "update", f"JobId={job}_{task}", "StartTime=now")


@pytest.fixture
def cluster(tmp_path):
    folder = tmp_path / "slurm"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        cluster = Cluster(folder)
        cluster.start(stack)
        yield cluster


@on_slurm
def test_a_real_cluster(cluster, tmp_path):
    """Three tasks are told to stop, one meets its time limit, a node goes down and comes back: every run has the bits
    of one that nobody touched, and none is trained twice."""
    config = write_tiny_config(tmp_path / "c.toml", steps=8000)
    overrides = [config, f"seed=0..{RUNS - 1}"]
    headscope("sweep", *overrides, "--out", tmp_path / "whole")
    sweep = tmp_path / "sweep"
    said = subprocess.run([BINARY, "sweep", *overrides, "--submit", "--threads", "1", "--out", sweep], text=True,
                          env=cluster.environment, capture_output=True)
    assert said.returncode == 0, said.stderr
    job = re.search(r"batch job (\d+)", said.stdout)[1]

    def training():
        return [task for task, state in cluster.tasks().items()
                if state == "RUNNING" and list((sweep / f"seed-{task}").glob("checkpoints/step-*"))]

    def next_training(done):
        cluster.wait_for(lambda: set(training()) - set(done), 120, "nobody trains")
        return min(set(training()) - set(done))

    stopped = set()
    for _ in range(3):
        task = next_training(stopped)
        cluster.signal(f"{job}_{task}")
        stopped.add(task)
    limited = next_training(stopped)
    cluster.ask("scontrol", "update", f"JobId={job}_{limited}", "TimeLimit=1")
    cluster.wait_for(lambda: cluster.tasks().get(limited) != "RUNNING", 120, "the time limit was not heeded")
    cluster.ask("scontrol", "update", f"JobId={job}_{limited}", "TimeLimit=UNLIMITED")
    cluster.free(job)
    down = next_training({*stopped, limited})
    cluster.ask("scontrol", "update", f"NodeName={cluster.host}", "State=DOWN", "Reason=test")
    cluster.wait_for(lambda: cluster.tasks().get(down) != "RUNNING", 60, "the node is up")
    time.sleep(1)
    cluster.ask("scontrol", "update", f"NodeName={cluster.host}", "State=RESUME")

    def all_done():
        cluster.free(job)
        return not cluster.tasks()

    cluster.wait_for(all_done, 600, "tasks are left")
    assert states(sweep) == ["finished"] * RUNS
    for number in range(RUNS):
        assert_same_runs(tmp_path / "whole" / f"seed-{number}", sweep / f"seed-{number}")
        said = (sweep / f"task-{number}.out").read_text()
        assert said.count("finished at step") == 1, said
    interrupted = [n for n in range(RUNS) if "exit code 75" in (sweep / f"task-{n}.out").read_text()]
    assert {*stopped, limited} >= set(interrupted) and len(interrupted) >= 2, (stopped, limited, interrupted)
    headscope("sweep", sweep, "--resume")
