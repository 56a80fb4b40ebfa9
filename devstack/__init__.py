"""The whole service on one machine: the table, the function URLs and Lambda's Invoke API, all on loopback.

`python -m devstack` keeps it running, `python -m devstack.demo` shows it learning; `devstack.stack.Stack` is both.
Nothing here is deployed.
"""
