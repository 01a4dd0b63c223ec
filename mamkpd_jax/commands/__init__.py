"""The commands of `mamkpd COMMAND`, one module each: its docstring is the help, and `main` runs after flag parsing.

If `main` is a `cli.Choice`, the next argument names the program to run. Flags that several commands define need
allow_override=True, so that one process can import all commands.
"""
