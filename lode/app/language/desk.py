"""What the endpoints of one language model share."""

from __future__ import annotations

import time

from lode.app.answering import Desk
from lode.app.contracts import Gate, RequestError, Status
from lode.app.language.contracts import Speaks, Steps
from lode.app.language.monitor import TokenMonitor
from lode.app.language.pieces import Pieces
from lode.app.language.prepare import Preparer
from lode.app.language.runner import Runner
from lode.app.options import LanguageServeOptions


class LanguageDesk(Desk):
    """The model, its engine in a thread, and the limits of a request."""

    def __init__(self, model: Speaks, engine: Steps, options: LanguageServeOptions, gate: Gate, monitor: TokenMonitor):
        super().__init__(model, gate, monitor, max_body_bytes=options.max_body_bytes, body_timeout_s=options.timeout_s)
        self.engine, self.options, self.tokens = engine, options, monitor
        self.tokenizer, self.context = model.tokenizer, model.context
        self.pieces = Pieces(model.tokenizer)
        self.preparer = Preparer(model, self.pieces, tuple(options.adapters or ()))
        self.runner = Runner(engine, parallel=options.max_sequences, most=self.most, on_step=monitor.step)
        self.created = int(time.time())

    @property
    def status(self) -> Status:
        return Status(ready=not self.draining and not self.runner.is_dead, live=not self.runner.is_dead)

    @property
    def most(self) -> int:
        """Sequences that one request may ask for: more could never be taken."""
        return self.options.max_sequences + self.options.max_waiting

    def overdue(self) -> None:
        self.runner.fail_all(lambda: RequestError(503, "stopping", "the server is stopping, and the answer is not complete."))
