"""What the server of a farm and its clients say to each other."""
