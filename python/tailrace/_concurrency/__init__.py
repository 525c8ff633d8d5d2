"""What async code needs here beside anyio: threads for slow disks, work in slices, ends that are waited for."""
