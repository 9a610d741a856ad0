"""Groups jobs into stacks by network, loss, optimizer, data and current step, and trains them."""

from collections.abc import Callable, Hashable, Sequence

from torch.optim import Optimizer

from mlplab.errors import RunStopped, UserError, counted, described, is_disk_full
from mlplab.optimization.optimizers import build_optimizer
from mlplab.runs.files import flushed_together
from mlplab.stacked.eligibility import position_of, stack_shape, why_alone_once_built
from mlplab.stacked.members.member import Member
from mlplab.stacked.members.stack_training import DataCache, build_member, claim, train_stack
from mlplab.stacked.networks.stacked_optimizer import RATES
from mlplab.stacked.same_step import why_another_step, why_other_code
from mlplab.stacked.stacked_job import MOST_HELD, Job, names_of
from mlplab.trainer_settings import use_threads

Alone = dict[str, list[Job]]
"""Reason → jobs that must run one by one."""


def train_jobs(jobs: Sequence[Job], cache: DataCache, say: Callable[[str], None]) -> Alone:
    """Trains jobs with matching configurations in stacks; returns those that cannot be stacked after all.

    Args:
        jobs: at most as many as a stack may have members.
        cache: of data sets, shared by all stacks.
        say: prints what is trained.

    Raises:
        RunStopped: a signal has stopped the run.
        DiskFull: or another error that `is_disk_full` recognises; members with enough room have finished.
    """
    alone = Alone()
    stacks: dict[Hashable, list[Member]] = {}
    other_steps: dict[Hashable, str | None] = {}
    for job in jobs:
        try:
            member = build_member(job, cache)
            optimizer = _optimizer_of(member)
            # Checked for each member, as user code may build members differently. The slow numerical comparison is made
            # once per shape.
            reason = why_alone_once_built(member, optimizer) or why_other_code(member)
            if reason is None:
                shape = stack_shape(member, optimizer)
                if shape not in other_steps:
                    other_steps[shape] = why_another_step(member)
                reason = other_steps[shape]
        except (RunStopped, KeyboardInterrupt):
            raise
        except BaseException as error:  # the job will raise it again when run alone, and report it
            reason = _why(error, job)
        if reason is None:
            stacks.setdefault(shape, []).append(member)
            _free_config(job, len(jobs))
        else:
            alone.setdefault(reason, []).append(job)
    for members in stacks.values():
        # Sorted, as adjacent members with equal optimizer options are updated together.
        _train(sorted(members, key=_optimizer_options), alone, say)
    return alone


def _train(members: Sequence[Member], alone: Alone, say: Callable[[str], None]) -> None:
    """Trains members of one shape. Members that resume from different steps go to different stacks."""
    first = members[0]
    # All members' products count together, so a stack may use threads even if a single network would not.
    use_threads(first.job.config, first.data, first.learner.model, copies=len(members))
    stacks: dict[Hashable, list[Member]] = {}
    # One flush to the disk for the files of all members.
    with flushed_together():
        for member in members:
            try:
                claim(member)
            except Exception as error:
                # A full disk would stop the next member too.
                if is_disk_full(error):
                    raise
                alone.setdefault(_why(error, member.job), []).append(member.job)
            else:
                stacks.setdefault(position_of(member), []).append(member)
            _free_config(member.job, len(members))
    for stack in stacks.values():
        together = " at once" if len(stack) > 1 else ""  # a single member resumes from this step
        say(f"stack   {counted(len(stack), 'network')}{together}: {names_of([member.job for member in stack])}")
        train_stack(stack)


def _why(error: BaseException, job: Job) -> str:
    """Describes a job's error without its directory, so that equal errors are reported once."""
    message = " ".join(str(error).split()) if isinstance(error, UserError) else described(error)
    return message.replace(str(job.directory), "its directory")


def _free_config(job: Job, n_jobs: int) -> None:
    """Frees a job's configuration when there are many jobs (half of a member's memory); it is recomposed at the end."""
    if n_jobs > MOST_HELD:
        job.forget()


def _optimizer_of(member: Member) -> Optimizer:
    """Builds an optimizer like the member's, to check its class and options."""
    learner = member.learner
    return build_optimizer(learner.optimizer_factory, learner.model, applies_to=learner.applies_to)


def _optimizer_options(member: Member) -> str:
    """Returns the options of a member's optimizer, with learning rate and decay last."""
    options: dict[str, object] = getattr(member.learner.optimizer_factory, "keywords", {})
    return repr(sorted(options.items(), key=lambda item: (item[0] in RATES, item[0])))
