"""What may start next, by what is free and what has to be done before: plain data, without tasks."""
