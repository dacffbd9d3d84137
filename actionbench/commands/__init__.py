"""The commands, one a file: a folder is a group. `cli.py` holds their table.

A command's module is imported when it is called or asked for its help, so what stands at its top
is light: torch, pandas and what imports them wait in the command's body.
"""
