"""The stage `represent` with workers that wait before they write their first shard, as long as a file is there."""

import time
from pathlib import Path

from fusionchat.represent.store.write import StoreWriter
from fusionchat.run.attempts import node_here
from fusionchat.stages import represent

write = StoreWriter.write_scored


class Held:
    """Where ``RUN/hold`` is there, a worker says which shard it has in ``RUN/held-NODE-SHARD``."""

    VERSION = represent.VERSION
    settings_of = staticmethod(represent.settings_of)
    so_far = staticmethod(represent.so_far)

    def work(self, settings, inputs, out, ctx):
        hold = Path(inputs.run) / "hold"

        def wait(writer, index, scored, columns=None):
            if hold.exists():
                hold.with_name(f"held-{node_here()}-{index}").touch()
            while hold.exists():
                time.sleep(0.02)
            write(writer, index, scored, columns)

        StoreWriter.write_scored = wait
        return represent.work(settings, inputs, out, ctx)
