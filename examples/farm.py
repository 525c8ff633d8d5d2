"""Three jobs on one farm: a preview that comes first, and a film that waits for both of its shots."""

import sys

import anyio

from tailrace import JobManager, JobSettings, JobSpec


def shot(name: str, frames: int, command: str) -> JobSpec:
    """Return a job with a chunk for each frame."""
    chunks = [
        {"id": n, "startFrame": n, "frameCount": 1, "outputFile": f"{name}_{n}.txt", "command": f"sh -c '{command}'"}
        for n in range(frames)
    ]
    metadata = {"totalFrames": frames, "fps": 24, "width": 1920, "height": 1080, "duration": frames / 24}
    return JobSpec.model_validate({"id": name, "metadata": metadata, "chunks": chunks})


async def main(folder: str) -> None:
    """Submit them, and say how each ended."""
    async with JobManager(repository=f"{folder}/farm.db", slots=2) as manager:
        first = await manager.submit(shot("first", 4, "sleep 0.1"), JobSettings(retries=1))
        second = await manager.submit(shot("second", 2, "sleep 0.1"), priority=5)
        film = await manager.submit(shot("film", 1, "echo joined"), after=[first, second])
        for job_id in (second, first, film):
            status = await manager.wait(job_id)
            print(status.name, status.state, f"{status.completed_chunks}/{status.total_chunks}", sep="\t")


anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else ".")
