"""Speed and memory, measured: the plain algorithm against the product, in turns, in one process.

`python -m emo_core bench` prints the table. plain.py is the yardstick; command.py the whole run.
"""
