"""Jobs side by side in worker processes of this machine; idle workers help with captures."""

from collections.abc import Sequence
from queue import SimpleQueue

from fusionchat.console import note
from fusionchat.errors import FusionChatError, MachineError
from fusionchat.run.engine.gpus import Choice, Gpus, choose, first_groups
from fusionchat.run.engine.worker_process import Event, Worker
from fusionchat.run.job import Announce, Job
from fusionchat.run.plan import Run


class SideBySide:
    """Jobs in worker processes, in order as far as their needs allow.

    Args:
        planned: The run.
        jobs: Jobs that are not done; all others that they need are done.
        announce: Called before each job with its status.
        workers: The number of processes.
        gpus: The GPUs that they share; none if there are none, or if all work goes to one.
    """

    def __init__(
        self,
        planned: Run,
        jobs: Sequence[Job],
        announce: Announce | None,
        workers: int,
        gpus: Gpus = (),
    ) -> None:
        self.planned, self.announce, self.workers, self.gpus = planned, announce, workers, gpus
        self.waiting, self.unfinished = list(jobs), {job.id for job in jobs}
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.hands: list[Worker] = []
        self.idle: list[Worker] = []
        self.shared: set[str] = set()
        """Jobs that have had help, so that no shards of them are left for another worker."""
        self.failed: FusionChatError | None = None

    def run(self) -> None:
        """Run the jobs; after an error no more are begun.

        Raises:
            FusionChatError: The first error of a job.
        """
        self._require_gpus()
        try:
            for group in first_groups(self.gpus, self.workers):
                self._start(group)
            while (self.waiting and self.failed is None) or any(hand.job for hand in self.hands):
                self._hear(self.events.get())
                self._hand_out()
                self._let_help()
        finally:
            for hand in self.hands:
                hand.stop()
            for hand in self.hands:
                hand.close()
        if self.failed is not None:
            raise self.failed

    def _require_gpus(self) -> None:
        """Raise MachineError if a job needs more GPUs than there are."""
        for job in self.waiting:
            if self.gpus and job.resources.gpus > len(self.gpus):
                raise MachineError(
                    f"{job.id} needs {job.resources.gpus} GPUs, but there are {len(self.gpus)}",
                    **(
                        {"where": "runtime.training.processes", "do": "set fewer, or auto"}
                        if job.resources.parallel == "ranks"
                        else {
                            "where": f"capture.gpus of {job.name}",
                            "do": "set fewer, with a device_map that puts the rest into host memory",
                        }
                    ),
                )

    def _start(self, gpus: Gpus) -> Worker:
        threads = self.planned.threads
        hand = Worker(self.planned, threads, self.events, gpus if self.gpus else None)
        self.hands.append(hand)
        return hand

    def _hear(self, event: Event) -> None:
        """Handle a worker that has finished its job or has ended."""
        hand = event.worker
        if hand not in self.hands:  # it was ended for its GPUs
            return
        if hand.helping is not None:
            self._helped(hand)
        if hand.job is not None:
            try:
                self.unfinished.discard(hand.finish().id)
            except FusionChatError as error:
                self.failed = self.failed or error
        if not event.ended:
            self.idle.append(hand)
        elif self.failed is None:
            self.failed = FusionChatError(
                f"A worker ended with exit code {hand.process.wait()}",
                where=str(self.planned.folder),
                do="see its message above; run the same command again to continue",
            )

    def _helped(self, hand: Worker) -> None:
        job = hand.helping
        assert job is not None
        self.shared.add(job.id)
        error = hand.helped()
        if error and job.id in self.unfinished:
            note(f"{job.id}: a worker that helped has stopped: {error}")

    def _hand_out(self) -> None:
        """Give jobs to idle workers."""
        while self.idle and self.failed is None:
            found = next(
                ((job, choice) for job in self.waiting if (choice := self._choice(job)) is not None), None
            )
            if found is None:
                return
            job, choice = found
            hand = self._take(choice)
            if hand is None:  # it restarts with these GPUs, and reports when it is ready
                return
            self.waiting.remove(job)
            try:
                if hand.give(job, self.announce):
                    self.idle.remove(hand)
                else:
                    self.unfinished.discard(job.id)
            except FusionChatError as error:
                self.failed = error

    def _choice(self, job: Job) -> Choice | None:
        """The idle worker that can begin a job now, and its GPUs; None if there is none."""
        return None if self.unfinished & set(job.needs) else self._placed(job)

    def _placed(self, job: Job) -> Choice | None:
        held = {gpu for hand in self.hands for gpu in hand.gpus}
        free = tuple(gpu for gpu in self.gpus if gpu not in held)
        need = job.resources.gpus if self.gpus else 0
        # The one that became idle last comes first: it has the model's libraries in memory.
        return choose(need, [hand.gpus for hand in reversed(self.idle)], free)

    def _take(self, choice: Choice) -> Worker | None:
        """The chosen worker if it has these GPUs; otherwise None, and workers restart.

        The chosen one restarts with these GPUs, and so do the idle ones that lose some.
        """
        idle = self.idle[::-1]
        hand = idle[choice.worker]
        if hand.gpus == choice.gpus:
            return hand
        for other in idle:
            if other is hand or set(other.gpus) & set(choice.gpus):
                self._end(other)
                self._start(
                    choice.gpus
                    if other is hand
                    else tuple(gpu for gpu in other.gpus if gpu not in choice.gpus)
                )
        return None

    def _end(self, hand: Worker) -> None:
        self.idle.remove(hand)
        self.hands.remove(hand)
        hand.stop()
        hand.close()

    def _let_help(self) -> None:
        """Have workers without a job make shards of captures that others have begun."""
        while self.idle and self.failed is None:
            running = [hand.job for hand in self.hands if hand.job is not None]
            open_to_help = [
                job for job in running if job.resources.parallel == "shards" and job.id not in self.shared
            ]
            helped = [hand.helping.id for hand in self.hands if hand.helping is not None]
            open_to_help.sort(key=lambda job: helped.count(job.id))
            found = next(
                ((job, choice) for job in open_to_help if (choice := self._placed(job)) is not None), None
            )
            if found is None:
                return
            hand = self._take(found[1])
            if hand is None:
                return
            self.idle.remove(hand)
            hand.help(found[0])
