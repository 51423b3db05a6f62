"""The command line, in processes of its own: through pipes, and on terminals."""
