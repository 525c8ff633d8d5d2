"""Commands in containers, by docker or podman."""
