"""The commands of `mamkpd COMMAND`, a module each: its docstring is the help, and `main` runs once flags are parsed.

Where `main` is a `cli.Choice`, the next argument is the name of what runs. Flags whose name several commands have allow
an override, so that one process can import all commands.
"""
