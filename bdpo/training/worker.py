"""What the DeepSpeed launcher starts: one process of a training.

    python -m bdpo.training.worker JOB.json

Everything it needs is in the job file; everything it makes goes into the job's
folder.  It imports next to nothing before it watches whoever wants its work.
"""

import os
import socket
import sys
from pathlib import Path

from bdpo.artifacts.disk import explain_disk_error
from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError
from bdpo.lifetime import die_unread, die_with, pid_place
from bdpo.training.worker_files import ERROR_FILE, VISIBLE_GPUS, Job, own_path


def main() -> None:
    """Run the job that the command line names."""
    job = Job.read(Path(sys.argv[-1]))
    if job.parent_place == pid_place():
        die_with(job.parent_pid, job.parent_started)
    # On another machine, and on this one where ssh stands in between, the output leads to whoever wants the work.
    die_unread(sys.stderr.fileno())
    # Who comes by ssh has the login's programs, without those of the virtual environment, of which PyTorch needs ninja.
    os.environ["PATH"] = own_path()
    if job.visible_gpus is not None:
        # The launcher has put its own list there; torch and DeepSpeed look at it when they are imported.
        os.environ[VISIBLE_GPUS] = job.visible_gpus
    import torch

    from bdpo.models.gpus import count_gpus

    if count_gpus():
        # Before the model is loaded, for 4-bit weights are quantised on the current GPU.
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    from bdpo.training.engine import rank_and_world
    from bdpo.training.reproducible import make_reproducible
    from bdpo.training.trainer import Trainer

    local = int(os.environ.get("LOCAL_SIZE", rank_and_world()[1]))
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // local, 1))
    make_reproducible(job.seed, deterministic=job.deterministic)
    try:
        if not Path(job.model_folder).is_dir():
            raise UserError(f"{job.model_folder}: on the machine {socket.gethostname()} there is no such folder.")
        Trainer(job).run()
    except Exception as error:
        # The folder is the scratch folder of a workspace, <artifacts>/train/<fingerprint>.partial/scratch.
        artifacts = Path(job.folder).parents[2]
        explained = error if isinstance(error, UserError) else explain_disk_error(error, artifacts)
        if explained is not None:
            write_atomically(Path(job.folder) / ERROR_FILE, str(explained))
        raise


if __name__ == "__main__":
    main()
