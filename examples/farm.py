"""Three jobs on one farm: two shots, the second of which comes first, and a film that waits for both and joins them."""

import sys

import anyio

from tailrace import JobManager, JobSettings, JobSpec


def job(name: str, *commands: str) -> JobSpec:
    """Return a job with a chunk for each command, whose output becomes its one frame, such as NAME_0.txt."""
    files = [f"{name}_{n}.txt" for n in range(len(commands))]
    chunks = [
        {"id": n, "startFrame": n, "frameCount": 1, "outputFile": file, "command": f"sh -c '{command} > {file}'"}
        for n, (file, command) in enumerate(zip(files, commands, strict=True))
    ]
    metadata = {"totalFrames": len(chunks), "fps": 24, "width": 1920, "height": 1080, "duration": len(chunks) / 24}
    return JobSpec.model_validate({"id": name, "metadata": metadata, "chunks": chunks})


async def main(folder: str) -> None:
    """Submit them, and say how each ended."""
    async with JobManager(repository=f"{folder}/farm.db", slots=2) as manager:
        shots = [job(name, *[f"sleep 0.1; echo {name} {n}" for n in range(3)]) for name in ("first", "second")]
        first = await manager.submit(shots[0], JobSettings(retries=1), folder=folder)
        second = await manager.submit(shots[1], folder=folder, priority=5)
        film = await manager.submit(job("film", "cat first_*.txt second_*.txt"), folder=folder, after=[first, second])
        for job_id in (second, first, film):
            status = await manager.wait(job_id)
            if status.state != "completed":
                # The film would wait until somebody has retried it.
                sys.exit(f"{status.name} {status.state}: {status.error}")
            print(status.name, status.state, f"{status.completed_chunks}/{status.total_chunks}", sep="\t")


anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else ".")
