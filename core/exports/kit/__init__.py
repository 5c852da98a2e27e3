"""The reproduce kit: a zip with which anybody can do a run's training again, without Graft.

Its train.py is written for the one run, from templates/train.py.jinja: plain transformers and peft,
read from top to bottom, with nothing in it that this run does not need. It learns from the same
rows in the same order, from the same beginning, so it comes to the same eval loss but for rounding.

examples.py  the rows: as they were written, or as the model's tokens
facts.py     what has to be told of a run
split.py     which rows of the dataset were learned from
written.py   the facts -> train.py, config.yaml, README.md, requirements.txt
offered.py   all of it in a zip, as a Format
"""
