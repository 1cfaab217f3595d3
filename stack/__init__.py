"""A whole stack (Redis, workers, sender, receiver) as processes of this machine: started, watched, thrown away.

stack.py         what runs, in which order, with which environment
parts.py         the command and the environment of each process
supervisor.py    starts processes, restarts what ends, ends them in order
redis_server.py  which Redis is run, on which configuration (redis.conf, the containers' as well)
temporary.py     a stack on free ports in a folder that is thrown away
waiting.py       waits until something is so
pdeathsig.py     ends a process with the one that started it
"""
