"""Stages of a test: captures that wait before a worker writes its second shard, and a merge that fails."""

import time
from pathlib import Path

from fusionchat.errors import FusionChatError
from fusionchat.represent.store.write import StoreWriter
from fusionchat.run.attempts import node_here
from fusionchat.stages import merge, represent

write = StoreWriter.write_scored


class Held:
    """As long as ``RUN/hold`` is there, a worker that has written a shard says in ``RUN/held-NODE-SHARD`` which it has next."""

    VERSION = represent.VERSION
    settings_of = staticmethod(represent.settings_of)
    so_far = staticmethod(represent.so_far)

    def work(self, settings, inputs, out, ctx):
        hold, written = Path(inputs.run) / "hold", set()

        def wait(writer, index, scored, columns=None):
            if written and hold.exists():
                hold.with_name(f"held-{node_here()}-{index}").touch()
                while hold.exists():
                    time.sleep(0.02)
            write(writer, index, scored, columns)
            written.add(index)

        StoreWriter.write_scored = wait
        return represent.work(settings, inputs, out, ctx)


class Failing:
    """Merges, one of which fails."""

    VERSION = merge.VERSION
    FAILS = "merge/fused"
    settings_of = staticmethod(merge.settings_of)
    so_far = staticmethod(merge.so_far)

    def work(self, settings, inputs, out, ctx):
        if inputs.job.id == self.FAILS:
            print("before it fails")  # noqa: T201 (a library does)
            raise FusionChatError("It cannot be merged", where="here")
        return merge.work(settings, inputs, out, ctx)
