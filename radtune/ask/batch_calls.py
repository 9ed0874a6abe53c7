"""The steps of a batch at its provider, and what is left to do where one was cut short."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from radtune.ask.batch_state import BatchState, Part
from radtune.config import InputError
from radtune.engines.chat import read_error
from radtune.engines.guard import Credential, Endpoint

if TYPE_CHECKING:
    from openai.types import Batch, FileObject

# A file of 190 MB takes minutes on a slow line.
_TIMEOUT_S = 600.0
# Of a file of answers: more than any batch of 200 MB gets.
_MOST_BYTES = 2 * 2**30
# For what may be done twice: reading, listing and deleting.
_RETRIES = 4
# Azure looks a file over before it makes a batch of it.
_PREPARING = {"pending", "running", "notRunning"}
_LONGEST_PREPARING_S, _FIRST_LOOK_S, _LAST_LOOK_S = 600.0, 0.25, 8.0
# Where reports are not collected and deleted sooner, OpenAI is asked to delete them after two weeks instead of a month.
_EXPIRY = {"anchor": "created_at", "seconds": 14 * 24 * 3600}

_METADATA_KEY = "radtune_part"

Result = TypeVar("Result")


class Refused(InputError):
    """A provider's error, by its code alone: its words may quote a report."""

    def __init__(self, endpoint: Endpoint, doing: str, code: str) -> None:
        hints = {
            "401": f"the key in {endpoint.key_variable} is not accepted; ",
            "404": "it may have no Batch API; ",
        }
        hint = hints.get(code[:3], "")
        super().__init__(f"{endpoint.url}: cannot {doing} ({code}); {hint}run the same command again to go on")
        self.code = code

    @property
    def for_certain(self) -> bool:
        """Whether nothing has come of the call: a status of the 400s, but for those that speak of time."""
        return self.code.startswith("4") and self.code[:3] not in ("408", "409")


class Provider:
    """Where batches are made, one call after another. Use as a context manager.

    Every method raises :class:`Refused` where the provider refuses or cannot be reached.
    """

    def __init__(self, endpoint: Endpoint, credential: Credential) -> None:
        """Opens a client of the endpoint."""
        self._endpoint = endpoint
        from radtune.engines.client import open_client

        # The client makes no attempt but the first: a batch that is made again is paid for again.
        self._once = open_client(endpoint, credential, _TIMEOUT_S, most_bytes=_MOST_BYTES)
        self._patiently = self._once.with_options(max_retries=_RETRIES)

    def __enter__(self) -> "Provider":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._once.close()

    def make_batch(self, state: BatchState, part: Part, content: bytes) -> str:
        """Uploads a file of requests and makes a batch of it; each step is written down.

        Args:
            state: Where.
            part: The batch.
            content: The file.

        Returns:
            The batch's id.
        """
        state.parts.append(part)
        state.save()
        try:
            file = self._call(
                "upload a file of requests",
                lambda: self._once.files.create(
                    file=(_file_name(part), content, "application/jsonl"),
                    purpose="batch",
                    **self._expiry("expires_after"),
                ),
                ("id",),
            )
            part.file_id = file.id
            state.save()
            self._wait_until_prepared(file)
            batch = self._call(
                "make a batch",
                lambda: self._once.batches.create(
                    input_file_id=file.id,
                    endpoint=request_url(self._endpoint),
                    completion_window="24h",
                    metadata={_METADATA_KEY: part.part_id},
                    **self._expiry("output_expires_after"),
                ),
                ("id",),
            )
        except Refused as refusal:
            if refusal.for_certain:
                # Where this fails, too, the next start does it.
                with suppress(Refused):
                    self._drop(state, part)
            raise
        part.batch_id = batch.id
        state.save()
        return batch.id

    def reconcile(self, state: BatchState) -> None:
        """Finds out what became of batches whose making was not written down to its end."""
        unknown = [part for part in state.parts if part.batch_id is None]
        if not unknown:
            return
        batches = self._call("list the batches", lambda: _all(self._patiently.batches.list(limit=100)), ("id",))
        # By what the provider was given to remember; if it does not give that back, by the file.
        made: dict[Any, Batch] = {}
        for batch in batches:
            remembered = batch.metadata.get(_METADATA_KEY) if isinstance(batch.metadata, dict) else None
            made |= {name: batch for name in (batch.input_file_id, remembered) if isinstance(name, str)}
        for part in unknown:
            if batch := made.get(part.part_id) or made.get(part.file_id):
                part.batch_id, part.file_id = batch.id, batch.input_file_id
                state.save()
            else:
                self._drop(state, part)

    def look(self, part: Part) -> "Batch | None":
        """A batch as it is now; None if the provider does not know it."""
        try:
            return self._call(
                "look at a batch", lambda: self._patiently.batches.retrieve(part.batch_id or ""), ("status",)
            )
        except Refused as refusal:
            if refusal.code.startswith("404"):
                return None
            raise

    def read_file(self, file_id: str) -> bytes:
        """The content of a file of results."""
        return self._call("read the answers", lambda: self._patiently.files.content(file_id)).content

    def delete_files(self, file_ids: Iterable[str]) -> None:
        """Deletes files, those that are gone already aside."""
        for file_id in file_ids:
            try:
                self._call("delete a file of reports or answers", partial(self._patiently.files.delete, file_id))
            except Refused as refusal:
                if not refusal.code.startswith("404"):
                    raise

    def _drop(self, state: BatchState, part: Part) -> None:
        """Forgets a batch that was never made; its file holds reports, so it goes first."""
        file_ids = [part.file_id] if part.file_id else []
        if not file_ids:
            files = self._call("list the files", lambda: _all(self._patiently.files.list(purpose="batch")), ("id",))
            file_ids = [file.id for file in files if file.filename == _file_name(part)]
        self.delete_files(file_ids)
        state.parts.remove(part)
        state.save()

    def _wait_until_prepared(self, file: "FileObject") -> None:
        pause_s, until = _FIRST_LOOK_S, time.monotonic() + _LONGEST_PREPARING_S
        while file.status in _PREPARING and time.monotonic() < until:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_LOOK_S)
            file = self._call("look at a file", partial(self._patiently.files.retrieve, file.id), ("id",))

    def _expiry(self, name: str) -> dict[str, Any]:
        # Azure knows this in some regions and versions only.
        openai_itself = self._endpoint.may_store and not self._endpoint.takes_azure_credentials
        return {name: _EXPIRY} if openai_itself else {}

    def _call(self, doing: str, call: Callable[[], Result], fields: tuple[str, ...] = ()) -> Result:
        """Makes a call. The package takes any answer as it comes, so the fields that are needed are looked for here."""
        import openai

        try:
            result = call()
            items = result if isinstance(result, tuple) else (result,)
            if all(isinstance(getattr(item, field, None), str) for item in items for field in fields):
                return result
            code = "malformed_answer"
        except InputError:
            # A token that cannot be had.
            raise
        except openai.APITimeoutError:
            code = "timeout"
        except openai.APIConnectionError:
            code = "connection_failed"
        except openai.APIStatusError as error:
            code = read_error(error.status_code, error.response.content).error or str(error.status_code)
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            code = "malformed_answer"
        # Raised out here, so that it carries no other exception along: that one would know the request.
        raise Refused(self._endpoint, doing, code)


def request_url(endpoint: Endpoint) -> str:
    """The path that a batch is for; Azure's form with API versions leaves the ``/v1`` out.

    From Microsoft, "Getting started with Azure OpenAI batch deployments", and OpenAI's API reference.
    """
    return "/chat/completions" if endpoint.is_azure else "/v1/chat/completions"


def _all(pages: Any) -> tuple[Any, ...]:
    # A tuple, which no JSON is read as.
    return (*pages,)


def _file_name(part: Part) -> str:
    return f"radtune-{part.part_id}.jsonl"
