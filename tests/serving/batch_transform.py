"""What SageMaker's batch transform does to a container, as its developer guide tells it.

It asks /execution-parameters where the job does not say, sends each object whole (SplitType None) or line by line
(Line: one record a request, or as many as fit into MaxPayloadInMB), several requests at a time, and writes for each
object one `.out`: the answers in order, a line break after each where they are assembled by Line. Any answer that is
not 200 ends the job; one object larger than the payload does too.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TransformJob:
    content_type: str
    accept: str | None = None
    split_type: str = "None"
    assemble_with: str = "None"
    batch_strategy: str | None = None
    max_payload_mb: float | None = None
    max_concurrent: int | None = None

    def run(self, client: httpx.Client, objects: Mapping[str, bytes]) -> dict[str, bytes]:
        """`NAME.out` of every object; raises what the job would fail with."""
        asked = client.get("/execution-parameters").raise_for_status().json()
        strategy = self.batch_strategy or {"MULTI_RECORD": "MultiRecord"}.get(asked["BatchStrategy"], "SingleRecord")
        limit = int((self.max_payload_mb or asked["MaxPayloadInMB"]) * MB)
        with ThreadPoolExecutor(self.max_concurrent or asked["MaxConcurrentTransforms"]) as pool:
            return {
                f"{name}.out": b"".join(
                    pool.map(lambda part: self._send(client, part), self._parts(data, strategy, limit))
                )
                for name, data in objects.items()
            }

    def _parts(self, data: bytes, strategy: str, limit: int) -> Iterator[bytes]:
        records = data.splitlines(keepends=True) if self.split_type == "Line" else [data]
        part = b""
        for record in records:
            assert len(record) <= limit, "a record is larger than MaxPayloadInMB"
            if part and (strategy == "SingleRecord" or len(part) + len(record) > limit):
                yield part
                part = b""
            part += record
        yield part

    def _send(self, client: httpx.Client, part: bytes) -> bytes:
        headers = {"Content-Type": self.content_type, **({"Accept": self.accept} if self.accept else {})}
        answer = client.post("/invocations", content=part, headers=headers).raise_for_status().content
        return answer + (b"\n" if self.assemble_with == "Line" else b"")
