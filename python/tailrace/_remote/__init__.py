"""Commands on other machines."""
