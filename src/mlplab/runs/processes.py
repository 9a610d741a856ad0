"""Tells the processes of a run apart: started by Lightning, by torchrun, or by SLURM's srun."""

import os
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig

from mlplab.errors import UserError

OF_OTHER_MACHINES = ("MASTER_ADDR", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Environment variables by which processes on several machines find each other, besides SLURM's."""

_N_TASKS, _PER_NODE = "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"


def is_first(trainer: pl.Trainer) -> bool:
    """Returns whether this process is the first of its run, the only one that writes files."""
    environment: Any = getattr(trainer.strategy, "cluster_environment", None)
    # Before training, Lightning knows only the process's number on its machine.
    return environment is None or not (environment.global_rank() or environment.local_rank() or environment.node_rank())


def environment_of(config: DictConfig) -> list[LightningEnvironment]:
    """Returns the Lightning plugin for starting the processes itself, if SLURM did not start them for this run.

    Within any SLURM job, Lightning assumes that the job's tasks are the run's processes.

    Raises:
        UserError: SLURM started another number of processes, or the addresses of the other machines are missing.
    """
    devices, n_nodes = config.trainer.get("devices", 1), int(config.trainer.get("num_nodes", 1))
    n_tasks = os.environ.get(_N_TASKS, "")
    if n_nodes > 1 and not n_tasks.isdecimal() and os.environ.keys().isdisjoint(OF_OTHER_MACHINES):
        # It would wait for them for ever.
        raise UserError(
            "several machines must find each other",
            f"trainer.num_nodes={n_nodes} without MASTER_ADDR, torchrun or srun",
            f"srun --nodes={n_nodes} python train.py …, or torchrun: docs/scaling.md",
        )
    if not n_tasks.isdecimal() or "TORCHELASTIC_RUN_ID" in os.environ:
        return []
    if n_nodes == 1 and (n_tasks == "1" or devices in (1, "1")):
        return [LightningEnvironment()]
    # Without --ntasks-per-node srun does not set it, which Lightning refuses.
    os.environ.setdefault(_PER_NODE, str(int(n_tasks) // max(1, n_nodes)))
    os.environ.setdefault("SLURM_LOCALID", "0" if int(os.environ[_PER_NODE]) == 1 else os.environ["SLURM_PROCID"])
    per_node = int(devices) if str(devices).isdecimal() else None
    if per_node is not None and int(n_tasks) != per_node * n_nodes:
        raise UserError(
            "SLURM must start a process for each device of each node",
            f"SLURM_NTASKS={n_tasks} with trainer.devices={devices} trainer.num_nodes={n_nodes}",
            f"srun --nodes={n_nodes} --ntasks-per-node={per_node}",
        )
    return []
