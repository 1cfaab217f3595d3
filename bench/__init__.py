"""Measurements of speed: `ddsr bench core | service | workers | gpu`. Ratios of contenders in turn on one machine.

timing.py     contenders in turn, wall and CPU seconds, medians, ratios
faces.py      the pictures and prompts
baseline.py   the same weights through diffusers' own parts
core.py       ours against the baseline
curve.py      evaluations against PSNR, for every solver
precision.py  what a number format costs
client.py     concurrent requests as the client words them, and what became of each
measured.py   the stack under measurement: processes, their CPU time and memory
noop_worker.py  a worker whose core computes nothing
service.py    the stack against the bare core; added latency; overload; memory; start
workers.py    one and two workers; what a job costs each process
gpu.py        a network of Stable Diffusion 1.5's size on a GPU
results.py    tables, JSON, plots
"""
