"""What a farm remembers: its jobs, their chunks and what happened, in SQLite or PostgreSQL."""
