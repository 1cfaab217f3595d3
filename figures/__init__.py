"""What every published figure needs, whoever measures: where it was made, and how it is shown.

provenance.py   command, commit, day, machine and versions
fidelity.py     PSNR
evaluations.py  how often a network is asked
tables.py       Markdown tables
plots.py        pictures of figures, as PNG
"""
