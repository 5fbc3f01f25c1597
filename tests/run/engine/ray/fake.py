"""A Ray without processes: calls run in the thread that asks for their result."""

from pathlib import Path
from types import SimpleNamespace

from ray.exceptions import WorkerCrashedError

from fusionchat.run.engine.ray.asks import Node
from fusionchat.run.worker import outcome_of

NODES = [Node("a", "1", {"CPU": 2.0, "memory": 8e9}), Node("b", "2", {"CPU": 2.0, "memory": 8e9})]


class FakeRay:
    """``options`` lists what was asked for; ``die`` maps a job to how often its worker dies first."""

    def __init__(self, toy, die=None):
        self.toy, self.die, self.options, self.ended = toy, dict(die or {}), [], []

    def remote(self, what):
        def with_options(**options):
            self.options.append(options)
            return SimpleNamespace(
                remote=lambda *given: self.actor() if isinstance(what, type) else (self.do, given)
            )

        return SimpleNamespace(options=with_options)

    def actor(self):
        method = lambda function: SimpleNamespace(remote=lambda *given: (function, given))  # noqa: E731
        return SimpleNamespace(ready=method(lambda: "a"), do=method(self.do))

    def do(self, errand):
        if self.die.get(errand.job_id, 0) > 0:
            self.die[errand.job_id] -= 1
            raise WorkerCrashedError
        stages = {"toy": self.toy, "represent": self.toy}
        return outcome_of(Path(errand.run), errand.job_id, errand.mark, stages=stages, helps=errand.helps)

    def get(self, ref):
        function, given = ref
        return function(*given)

    def kill(self, actor):
        self.ended.append(actor)

    def cancel(self, ref, force):
        self.ended.append(ref)
