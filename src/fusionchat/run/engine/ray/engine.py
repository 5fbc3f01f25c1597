"""Jobs on a Ray cluster: each runs as soon as the jobs it needs are done, wherever Ray finds room.

- A job is a Ray task with its CPUs, GPUs, memory and custom resources (`asks`).
- A capture or an evaluation goes to a hand: an actor whose libraries and model stay loaded (`pool`). Hands
  that block no other job's resources make shards of captures that others have begun.
- A training in several processes has an actor for each, in a placement group (`ranks`).

The work of a dead worker or node is assigned again; its finished shards and checkpoints are used. Only this
process begins and finishes jobs, and it holds their leases. When it dies, Ray ends its workers, and the same
command continues the run.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import ray
from ray.exceptions import RayError

from fusionchat.artifacts import begin
from fusionchat.console import warn, watching
from fusionchat.errors import DamagedError, FusionChatError, MachineError
from fusionchat.run.attempts import last_attempt
from fusionchat.run.engine.leased import is_left, job_lease
from fusionchat.run.engine.ray.asks import Ask, Node, ask_of, is_room, lacking
from fusionchat.run.engine.ray.cluster import joined, nodes_now, probe
from fusionchat.run.engine.ray.pool import Hand, Pool
from fusionchat.run.engine.ray.ranks import make_in_ranks
from fusionchat.run.engine.ray.remote import Errand, Outcome, do, packed
from fusionchat.run.execute import write_manifest
from fusionchat.run.failure import note_failure
from fusionchat.run.job import Announce, Job
from fusionchat.run.order import write_order
from fusionchat.run.outcome import raised
from fusionchat.run.overview import overview, summary
from fusionchat.run.overview_table import table
from fusionchat.run.plan import Run

TICK = 1.0
POOLED = ("represent", "evaluate")
"""Stages whose jobs load a model and are alike, so that they go to hands."""
FAILURES = 2
"""How often a job fails for a reason of its own before its error counts."""
LOSSES = 5
"""How often the worker of a job dies before that counts as the job's fault."""


def run_jobs(planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
    """Run jobs that are not done on the cluster that the recipe names.

    Raises:
        FusionChatError: The first error that a job had twice; all jobs that do not need it are finished
            first.
        MachineError: There is no cluster, a node does not see the run's folder, or no node has what a job
            needs.
    """
    if not jobs:
        return
    for job in planned.jobs.values():
        write_order(planned.folder, job, planned.recipe.runtime)
    with joined(planned.recipe.runtime.ray):
        nodes = nodes_now()
        probe(planned.folder, nodes)
        RayEngine(planned, jobs, announce).run()


class Work:
    """A running job, or help with it.

    Attributes:
        job: The job.
        ask: What it needs.
        hand: The actor that has it; None for a task, and for ranks.
        helps: Whether another has begun the job.
        stopped: Set once nobody waits for it any more.
        ref: Ray's reference of the task or of the actor's call.
        outcome: Its outcome, once it is over.
        error: The error that stopped it: Ray's if its worker died.
    """

    def __init__(self, job: Job, ask: Ask, hand: Hand | None = None, *, helps: bool = False) -> None:
        self.job, self.ask, self.hand, self.helps = job, ask, hand, helps
        self.stopped = Event()
        self.ref: Any = None
        self.outcome: Outcome = {}
        self.error: Exception | None = None


class RayEngine:
    """Runs jobs on the cluster that this process has joined.

    Args:
        planned: The run.
        jobs: Jobs that are not done; all others that they need are done.
        announce: Called before each job with its status.
    """

    def __init__(self, planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
        self.planned, self.announce, self.stages = planned, announce, packed(planned.stages)
        self.waiting, self.unfinished = list(jobs), {job.id for job in jobs}
        self.events: SimpleQueue[Work | Hand] = SimpleQueue()
        self.pool = Pool(self.events)
        self.for_hands = list[Job]()
        self.out = list[Work]()
        self.held = dict[str, ExitStack]()
        self.started = dict[str, float]()
        self.failures, self.losses = Counter[str](), Counter[str]()
        self.shared = set[str]()
        """Jobs that have had help, so that no shards of them are left for another hand."""
        self.lacks = dict[str, float]()
        self.nodes: list[Node] = nodes_now()
        self.failed: FusionChatError | None = None

    def run(self) -> None:
        """Run the jobs; after an error, those that do not need the failed one still run.

        Raises:
            FusionChatError: The first error of a job.
        """
        self._require_room(self.waiting)
        try:
            with watching(self._table):
                self._run()
        finally:
            self._stop()
        if self.failed is not None:
            raise self.failed

    def _table(self, width: int) -> list[str]:
        """The progress table: how much is done in one line, then who works on what."""
        lines = overview(self.planned.folder)
        busy = [line for line in lines if line.state not in ("done", "to do")]
        return [summary(lines), *(table(busy, width) if busy else [])]

    def _run(self) -> None:
        self._place()
        while self.out or self.for_hands:
            with suppress(Empty):
                self._hear(self.events.get(timeout=TICK))
            self.nodes = nodes_now()
            self._give_up()
            self._place()

    # What is placed

    def _place(self) -> None:
        for job in list(self.waiting):
            if not self.unfinished & set(job.needs):
                self.waiting.remove(job)
                self._begin(job)
        for job in list(self.for_hands):
            hand = self.pool.idle(self._ask(job))
            if hand is not None:
                self.for_hands.remove(job)
                self._give(job, hand)
        self.pool.start([self._ask(job) for job in self.for_hands])
        self._let_help()
        if any(work.hand is None for work in self.out) or self.for_hands:
            self.pool.let_go()

    def _begin(self, job: Job) -> None:
        """Take a job's lease, begin the job, and send it."""
        try:
            with ExitStack() as held:
                held.enter_context(job_lease(self.planned, job))
                if not is_left(self.planned, job, self.announce):
                    self.unfinished.discard(job.id)
                    return
                begin(self.planned.path(job.id), job.fingerprint, parts=job.parts)
                self.held[job.id], self.started[job.id] = held.pop_all(), time.monotonic()
        except FusionChatError as error:
            self._fail(job, error)
            return
        self._send(job)

    def _send(self, job: Job) -> None:
        """Send a job that is begun to a task, a hand or ranks."""
        ask = self._ask(job)
        if job.stage in POOLED:
            self.for_hands.append(job)
        elif ask.processes > 1:
            work, errand = Work(job, ask), self._errand(job, ask)
            self._watch(work, lambda: make_in_ranks(errand, ask, work.stopped))
        else:
            work = Work(job, ask)
            work.ref = ray.remote(do).options(**ask.options, max_retries=0).remote(self._errand(job, ask))
            self._watch(work, lambda: ray.get(work.ref))

    def _give(self, job: Job, hand: Hand, *, helps: bool = False) -> None:
        work = Work(job, hand.ask, hand, helps=helps)
        hand.busy = True
        work.ref = hand.actor.do.remote(self._errand(job, hand.ask)._replace(helps=helps))
        self._watch(work, lambda: ray.get(work.ref))

    def _let_help(self) -> None:
        """Have idle hands, and new ones if there is room for them, make shards of captures."""
        open_to_help = [
            work.job
            for work in self.out
            if not work.helps and work.job.resources.parallel == "shards" and work.job.id not in self.shared
        ]
        helped = Counter(work.job.id for work in self.out if work.helps)
        for job in sorted(open_to_help, key=lambda one: helped[one.id]):
            ask = self._ask(job)
            hand = self.pool.idle(ask)
            if hand is not None:
                self._give(job, hand, helps=True)
            else:
                self._start_more(ask, helped[job.id] + 1)

    def _start_more(self, ask: Ask, at_work: int) -> None:
        """Start one hand for each at work, if there is room, so that their number doubles."""
        starting = sum(hand.ask == ask for hand in self.pool.starting)
        used, more = self._used(), 0
        while starting + more < at_work and is_room(ask, [*used, *[ask] * more], self.nodes):
            more += 1
        self.pool.start([ask] * (starting + more))

    def _used(self) -> list[Ask]:
        """The resources that tasks, ranks and hands use, or wait for."""
        return [work.ask for work in self.out if work.hand is None] + [h.ask for h in self.pool.hands]

    def _ask(self, job: Job) -> Ask:
        return ask_of(job, self.planned.recipe.runtime, self.nodes)

    def _errand(self, job: Job, ask: Ask) -> Errand:
        folder = str(self.planned.folder.absolute())
        return Errand(folder, job.id, job.fingerprint, ask.cpus * ask.processes, self.stages)

    def _watch(self, work: Work, outcome: Callable[[], Outcome]) -> None:
        """Wait for an outcome in a thread of its own, finish the job, and say so."""
        self.out.append(work)

        def wait() -> None:
            try:
                work.outcome = outcome()
                if not work.helps and "summary" in work.outcome and not work.stopped.is_set():
                    self._finish(work.job, work.outcome)
            except Exception as error:
                work.error = error
            self.events.put(work)

        Thread(target=wait, daemon=True).start()

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Write the manifest of a job whose work is done.

        This reads the job's files, in a thread so that other jobs do not wait. The seconds are those of the work, without
        the time that the job waited for room.
        """
        run, summary = self.planned.folder, outcome["summary"]
        assert isinstance(summary, dict)
        last = last_attempt(run, job.id, job.fingerprint)
        waited_too = time.monotonic() - self.started[job.id]
        write_manifest(
            job, run, summary, waited_too if last is None or last.seconds is None else last.seconds
        )

    # What is heard

    def _hear(self, event: Work | Hand) -> None:
        """Handle an event: a job is over or its worker has died, or a hand is ready or has died."""
        if isinstance(event, Hand):
            self.pool.hear(event)
            return
        if event not in self.out:  # it was given up
            return
        self.out.remove(event)
        if event.hand is not None:
            event.hand.busy = False
            if isinstance(event.error, RayError):
                self.pool.forget(event.hand)
        if event.helps:
            if "summary" in event.outcome:
                self.shared.add(event.job.id)
            return
        if event.error is not None:
            self._lost(event.job, event.error)
        elif "error" in event.outcome:
            self._erred(event.job, raised(event.outcome["error"]))  # type: ignore[arg-type]
        else:
            self.unfinished.discard(event.job.id)
            self.held.pop(event.job.id).close()

    def _lost(self, job: Job, error: Exception) -> None:
        """Handle the death of a job's worker: the job runs again, on another node or process."""
        if not isinstance(error, RayError):
            self._fail(job, error if isinstance(error, FusionChatError) else _bug(job, error))
            return
        self.losses[job.id] += 1
        if self.losses[job.id] >= LOSSES:
            lost = MachineError(
                f"The worker of {job.id} has died {LOSSES} times: {_line(error)}",
                where=str(self.planned.path(job.id)),
                do="see the logs in the run's jobs folder; if memory ran out, ask for larger nodes (runtime.ray.resources)",
            )
            self._fail(job, lost)
            return
        warn(f"The worker of {job.id} has died; the job continues elsewhere ({_line(error)})")
        self._send(job)

    def _erred(self, job: Job, error: FusionChatError) -> None:
        """Handle a job's own error: the job is tried once more."""
        self.failures[job.id] += 1
        if isinstance(error, DamagedError) or self.failures[job.id] >= FAILURES:
            self._fail(job, error)
            return
        warn(f"{job.id} failed; trying once more: {error.what}")
        self._send(job)

    def _fail(self, job: Job, error: FusionChatError) -> None:
        self.failed = self.failed or error
        if job.id in self.held:  # else it is another process's to say
            note_failure(self.planned.folder, job, error)
            self.held.pop(job.id).close()

    # What cannot be placed

    def _require_room(self, jobs: Sequence[Job]) -> None:
        """Wait until the cluster has what each job needs; raises MachineError after a while."""
        until = time.monotonic() + self.planned.recipe.runtime.ray.patience
        said = ""
        for job in jobs:
            while lack := lacking(self._ask(job), self.nodes):
                error = no_room(job, lack, self.nodes)
                if time.monotonic() > until:
                    raise error
                if not said:
                    said = error.what
                    warn(f"{said}; waiting for such a node")
                time.sleep(TICK)
                self.nodes = nodes_now()

    def _give_up(self) -> None:
        """Give up jobs that no node has had room for in a while, because one was lost."""
        now, patience = time.monotonic(), self.planned.recipe.runtime.ray.patience
        begun = [*(work.job for work in self.out if not work.helps), *self.for_hands]
        for job in begun:
            lack = lacking(self._ask(job), self.nodes)
            if not lack:
                self.lacks.pop(job.id, None)
            elif now - self.lacks.setdefault(job.id, now) > patience:
                self._abandon(job)
                self._fail(job, no_room(job, lack, self.nodes))

    def _abandon(self, job: Job) -> None:
        self.for_hands = [one for one in self.for_hands if one.id != job.id]
        for work in [one for one in self.out if one.job.id == job.id]:
            self.out.remove(work)
            self._end(work)

    def _end(self, work: Work) -> None:
        work.stopped.set()
        if work.hand is not None:
            self.pool.end(work.hand)
        elif work.ref is not None:
            with suppress(RayError):
                ray.cancel(work.ref, force=True)

    def _stop(self) -> None:
        """End all running work, and release all leases."""
        for work in self.out:
            self._end(work)
        self.pool.close()
        for held in self.held.values():
            held.close()


def no_room(job: Job, lack: str, nodes: Sequence[Node]) -> MachineError:
    """The error for a job that no node has room for."""
    return MachineError(
        f"{job.id} needs {lack}",
        where=f"Ray cluster of {len(nodes)} nodes: {', '.join(node.name for node in nodes)}",
        do="add such a node, ask for less (runtime.threads, runtime.training.processes, capture.gpus, runtime.ray.resources), "
        "or set runtime.device to cpu",
    )


def _line(error: Exception) -> str:
    """The first sentence of an error; Ray's continue with everything that may have happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__


def _bug(job: Job, error: Exception) -> FusionChatError:
    found = FusionChatError(
        f"{job.id} cannot be finished: {type(error).__name__}: {_line(error)}",
        where=job.id,
        do="run the same command again; if it happens again, report it",
    )
    found.exit_code = 1
    return found
