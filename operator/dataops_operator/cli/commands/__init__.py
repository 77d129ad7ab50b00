"""One module a command, or a few that belong together; each puts itself on the app."""
