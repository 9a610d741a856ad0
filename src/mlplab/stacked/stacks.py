"""From jobs to stacks: whose networks, losses, optimizers and data fit each other, and where each goes on from."""

from collections.abc import Callable, Hashable, Sequence

from torch.optim import Optimizer

from mlplab.building import use_threads
from mlplab.errors import Refusal, RunStopped, counted, described, is_disk_full
from mlplab.optimization.optimizers import build_optimizer
from mlplab.runs.files import flushed_together
from mlplab.stacked.eligibility import position_of, stack_shape, why_alone_once_built
from mlplab.stacked.member import Member
from mlplab.stacked.same_step import why_another_step, why_other_code
from mlplab.stacked.stack_training import DataCache, build_member, claim, train_stack
from mlplab.stacked.stacked_job import MOST_HELD, Job, names_of

Alone = dict[str, list[Job]]
"""Jobs that are to be run one by one, by the reason why."""


def train_jobs(jobs: Sequence[Job], cache: DataCache, say: Callable[[str], None]) -> Alone:
    """Trains jobs whose configurations are alike, and gives those that cannot be stacked after all.

    Args:
        jobs: no more than a stack may have members.
        cache: the data that earlier stacks have read.
        say: tells on the terminal what is trained.

    Raises:
        RunStopped: by a signal.
        DiskFull: or another error that `is_disk_full` knows; those that had room are done.
    """
    alone = Alone()
    stacks: dict[Hashable, list[Member]] = {}
    other_steps: dict[Hashable, str | None] = {}
    for job in jobs:
        try:
            member = build_member(job, cache)
            optimizer = _optimizer_of(member)
            # Of each member, as the code that builds it may treat one unlike another. Numbers are compared once.
            reason = why_alone_once_built(member, optimizer) or why_other_code(member)
            if reason is None:
                shape = stack_shape(member, optimizer)
                if shape not in other_steps:
                    other_steps[shape] = why_another_step(member)
                reason = other_steps[shape]
        except (RunStopped, KeyboardInterrupt):
            raise
        except BaseException as error:  # which it meets again alone, and is told of there
            reason = _why(error, job)
        if reason is None:
            stacks.setdefault(shape, []).append(member)
            _let_go_of(job, len(jobs))
        else:
            alone.setdefault(reason, []).append(job)
    for members in stacks.values():
        _train(members, alone, say)
    return alone


def _train(members: Sequence[Member], alone: Alone, say: Callable[[str], None]) -> None:
    """Trains members of one shape. Those that go on from different steps are stacked apart."""
    first = members[0]
    use_threads(first.job.config, first.data, first.learner.model, copies=len(members))
    stacks: dict[Hashable, list[Member]] = {}
    with flushed_together():
        for member in members:
            try:
                claim(member)
            except Exception as error:
                if is_disk_full(error):
                    raise
                alone.setdefault(_why(error, member.job), []).append(member.job)
            else:
                stacks.setdefault(position_of(member), []).append(member)
            _let_go_of(member.job, len(members))
    for stack in stacks.values():
        together = " at once" if len(stack) > 1 else ""  # one that goes on from where no other is
        say(f"stack   {counted(len(stack), 'network')}{together}: {names_of([member.job for member in stack])}")
        train_stack(stack)


def _why(error: BaseException, job: Job) -> str:
    """What a job has met, in words that are the same for all that meet it, though it names the directory of each."""
    told = " ".join(str(error).split()) if isinstance(error, Refusal) else described(error)
    return told.replace(str(job.directory), "its directory")


def _let_go_of(job: Job, n_jobs: int) -> None:
    """Of many jobs, the configuration: half of what a member takes. It is composed again when it ends."""
    if n_jobs > MOST_HELD:
        job.forget()


def _optimizer_of(member: Member) -> Optimizer:
    """One as the member will have, to see of what kind it is."""
    learner = member.learner
    return build_optimizer(learner.optimizer_factory, learner.model, applies_to=learner.applies_to)
