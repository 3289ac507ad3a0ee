from collections.abc import Callable, Sized

from picows import WSFrame, WSListener, WSTransport

from pipeline.native.arbiter import Pulse
from pipeline.native.counters import Counter
from pipeline.native.flow import Sink
from pipeline.native.framescan import Scanner
from pipeline.native.stamps import Stamps

class ShortCut:
    is_held: bool
    def __init__(
        self, scanner: Scanner, sink: Sink, frames: Counter, twins: Counter, stamps: Stamps,
    ) -> None: ...

class FeedListener(WSListener):
    def __init__(
        self, short_cut: ShortCut, offset_ns: int, pulse: Pulse, behind: WSListener, backlog: Sized,
        turn: Callable[[], object],
    ) -> None: ...
    def on_ws_connected(self, transport: WSTransport) -> None: ...
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...
    def on_ws_disconnected(self, transport: WSTransport) -> None: ...
