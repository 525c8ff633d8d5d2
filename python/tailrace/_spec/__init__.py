"""What a job is: its chunks and frames, the commands and the files that they write."""
