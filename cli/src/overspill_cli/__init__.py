"""The command line: what an administrator types beside kubectl and helm."""
