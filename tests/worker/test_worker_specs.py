"""A worker parses a job file once, and anew when it has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from support import web_servers
from support.jobs import job
from support.workers import Worker, running_worker
from tailrace import JobSpec
from tailrace.worker import _file_state, _specs
from tailrace.worker._requests import RefusedError
from tailrace.worker._specs import AllowedSpecs


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with running_worker(tmp_path, concurrency=4) as running:
        yield running


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each text that is parsed."""
    sizes: list[int] = []
    parse: Callable[[str | bytes], JobSpec] = JobSpec.parse

    def record(text: bytes) -> JobSpec:
        sizes.append(len(text))
        return parse(text)

    monkeypatch.setattr(JobSpec, "parse", record)
    return sizes


def test_an_address_that_is_not_allowed_is_told_without_its_secrets() -> None:
    for address in ("s3://u:pwpwpw@host/job.json?sig=pwpwpw", "http://u:pwpwpw@host/job.json?sig=pwpwpw"):
        with pytest.raises(RefusedError, match=r"://host/job\.json") as caught:
            AllowedSpecs([]).load(address, None)
        assert "pwpwpw" not in str(caught.value)


def test_a_job_of_many_chunks_is_parsed_once_for_all_of_them(worker: Worker, parsed: list[int]) -> None:
    address = worker.write_job(*["true"] * 20)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(partial(worker.ask, address), range(20)))
    assert [answer.json()["exitCode"] for answer in answers] == [0] * 20
    assert len(parsed) == 1


def test_a_job_from_the_web_is_parsed_once_too(tmp_path: Path, parsed: list[int]) -> None:
    content = job("echo a", "echo b").model_dump_json(by_alias=True).encode()
    with (
        web_servers.serving(lambda handler: web_servers.send(handler, content)) as url,
        running_worker(tmp_path, allow_specs=[url]) as worker,
    ):
        assert [worker.ask(f"{url}/job.json", chunk).json()["stdout"] for chunk in (0, 1, 0)] == ["a\n", "b\n", "a\n"]
    assert len(parsed) == 1


def test_a_file_that_has_long_been_as_it_is_is_not_even_read_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_state, "_SETTLED", -(10**12))
    address = worker.write_job("echo a")
    assert worker.ask(address).json()["stdout"] == "a\n"
    monkeypatch.setattr(_specs.ParsedSpecs, "parse", lambda *_: pytest.fail("read again"))
    assert worker.ask(address).json()["stdout"] == "a\n"


@pytest.mark.parametrize("settled", [2 * 10**9, -(10**12)], ids=["new", "old"])
@pytest.mark.parametrize("how", ["rewritten", "replaced"])
def test_a_file_that_has_changed_is_parsed_anew(
    how: str, settled: int, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_state, "_SETTLED", settled)
    for word in ("aa", "bb", "cc"):
        address = worker.write_job(f"echo {word}", name="next.json" if how == "replaced" else "job.json")
        if how == "replaced":
            Path(address).replace(worker.specs / "job.json")
        assert worker.ask(str(worker.specs / "job.json")).json()["stdout"] == f"{word}\n"


def test_what_is_no_job_file_is_refused_each_time_and_a_better_one_taken(worker: Worker) -> None:
    path = worker.specs / "job.json"
    path.write_text("{}")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: worker.ask(str(path)), range(8)))
    assert {answer.status for answer in answers} == {422}
    assert worker.ask(worker.write_job("true")).json()["exitCode"] == 0


def test_only_the_last_few_are_kept(worker: Worker, parsed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_specs, "_MOST_BYTES", 1)
    one, two = worker.write_job("true", name="one.json"), worker.write_job("true; true", name="two.json")
    for address in (one, one, two, two, one):
        assert worker.ask(address).json()["exitCode"] == 0
    assert len(parsed) == 3
