"""What people and schedules run beside the service; nothing here is deployed with the functions.

`offline.cli` is the command line `tips`, one module per group of commands.
"""
