"""A loaded model and what stands around it: loading, readiness, and one request's way from body to answer.

Ready means: the model is loaded and has counted a photo. Refuses everything before that, and never says ready of a
model that cannot be loaded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import numpy as np

from bintally.data.images import PhotoFormat, encode
from bintally.errors import BintallyError, ModelError
from bintally.inference.engine import Engine
from bintally.inference.model_file import ModelFacts
from bintally.serving.answers import Counted, answer_type, render, render_full
from bintally.serving.bodies import BodyKind, Given, kind_of, photos_in
from bintally.serving.counting import CountingQueue
from bintally.serving.faults import Fault, not_ready
from bintally.serving.receiving import ClientGoneError, HeldBytes, Receive, read_body
from bintally.serving.settings import ServeSettings

Notes = MutableMapping[str, Any]  # what the request's line in the log is to say


def load_engine(settings: ServeSettings) -> Engine:
    """The engine, once it has counted one photo.

    Raises:
        ModelError: if the model is missing or damaged, or cannot count.
    """
    engine = Engine(settings.model, threads=settings.threads)
    photo = encode(np.full((48, 64, 3), 127, np.uint8), PhotoFormat.JPEG, quality=90)
    try:
        engine.count(photo, name="the first photo")
    except BintallyError:
        raise
    except Exception as error:  # onnxruntime's errors share no base class that it exports
        said = str(error).splitlines()[0][:200]
        raise ModelError(f"{settings.model}: loaded, but could not count a photo ({said}). Export it again") from error
    return engine


class Service:
    """What all requests of one server share."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.held = HeldBytes(settings.max_held_bytes)
        self.failure: BintallyError | None = None  # why there will be no model
        self._engine: Engine | None = None
        self._queue: CountingQueue | None = None

    async def load(self, *, on_ready: Callable[[ModelFacts], None], on_failure: Callable[[], None]) -> None:
        """Load the model, the event loop left free, and say how that ended; `failure` is why it failed."""
        try:
            self._engine = await asyncio.to_thread(load_engine, self.settings)
        except BintallyError as error:
            self.failure = error
            on_failure()
            return
        self._queue = CountingQueue(self._engine, most=self.settings.queue)
        on_ready(self._engine.facts)

    def close(self) -> None:
        """Begin nothing more."""
        if self._queue is not None:
            self._queue.close()

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            Fault: 503, before the model is loaded and has counted a photo.
        """
        if self._engine is None or self._queue is None:
            raise not_ready()
        return self._engine

    @property
    def queue(self) -> CountingQueue:
        """The queue in front of the engine.

        Raises:
            Fault: as `engine` does.
        """
        if self._queue is None:
            raise not_ready()
        return self._queue

    @property
    def facts(self) -> ModelFacts:
        """What the model says of itself.

        Raises:
            Fault: as `engine` does.
        """
        return self.engine.facts

    async def invoke(self, receive: Receive, headers: Mapping[str, str], notes: Notes) -> tuple[bytes, str]:
        """A request's answer by its Accept, and the answer's type.

        Raises:
            Fault: why there is none.
            ClientGoneError: nobody is waiting for one.
        """
        kind = _kind(headers)
        wanted = answer_type(headers.get("accept", ""), kind)

        def rendered(counted: list[Counted]) -> bytes:
            return render(counted, wanted, kind, level=self.settings.level)

        return await self._answer(receive, headers, notes, kind, rendered), wanted.value

    async def count(self, receive: Receive, headers: Mapping[str, str], notes: Notes) -> bytes:
        """A request's answer in full; raises what `invoke` does."""
        facts = self.facts

        def rendered(counted: list[Counted]) -> bytes:
            return render_full(counted, facts, level=self.settings.level)

        return await self._answer(receive, headers, notes, _kind(headers), rendered)

    async def _answer(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        notes: Notes,
        kind: BodyKind,
        rendered: Callable[[list[Counted]], bytes],
    ) -> bytes:
        queue, settings = self.queue, self.settings
        body = await read_body(
            receive, headers, self.held, max_bytes=settings.max_body_bytes, seconds=settings.read_seconds
        )
        notes["bytes"] = len(body)
        try:
            queue.enter()
            try:
                return await unless_gone(receive, self._counted(queue, body, kind, notes, rendered))
            finally:
                queue.leave()
        finally:
            self.held.give_back(len(body))

    async def _counted(
        self,
        queue: CountingQueue,
        body: bytes,
        kind: BodyKind,
        notes: Notes,
        rendered: Callable[[list[Counted]], bytes],
    ) -> bytes:
        seconds = self.settings.deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                photos = await self._photos(body, kind)
                notes["photos"] = len(photos)
                counted = await queue.count(photos)
                if len(counted) == 1 and not isinstance(counted[0].result, Fault):
                    notes["count"] = counted[0].result.mode
                return rendered(counted) if len(counted) == 1 else await asyncio.to_thread(rendered, counted)
        except TimeoutError as error:
            raise Fault(
                504, "too-late", f"not counted within {seconds:g} seconds. Send fewer photos at once"
            ) from error

    async def _photos(self, body: bytes, kind: BodyKind) -> list[Given]:
        """The photos in a body; JSON takes long enough to be read elsewhere."""
        most = self.settings.max_photos
        if kind is BodyKind.IMAGE:
            return photos_in(body, kind, max_photos=most)
        return await asyncio.to_thread(photos_in, body, kind, max_photos=most)


async def unless_gone(receive: Receive, work: Awaitable[bytes]) -> bytes:
    """What `work` gives; it is given up as soon as the client hangs up.

    Raises:
        ClientGoneError: if the client did.
    """
    counting = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(receive())  # the body has been read: what comes now is the end
    try:
        await asyncio.wait({counting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if counting.done():
            return counting.result()
        raise ClientGoneError
    finally:
        counting.cancel()
        gone.cancel()


def _kind(headers: Mapping[str, str]) -> BodyKind:
    return kind_of(headers.get("content-type", ""), headers.get("content-encoding", ""))
