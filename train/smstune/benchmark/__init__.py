"""Speed of this machine: grouping, training and inference beside their peers, a server under load.

In: a configuration, a run or messages. Out: rows of a table.
"""
