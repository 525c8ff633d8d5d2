"""Looks at pictures and videos: whether they are whole, and what is odd about them."""
