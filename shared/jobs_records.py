"""The authoritative record of a job in Redis: key names, and transitions that are atomic, idempotent and
fenced.

    ddsr:job:<id>           hash: kind, state, owner, created, batch, attempts, execution, step, steps, ...
    ddsr:job:<id>:request   sealed request; deleted with the end of the job, not before (retries need it)
    ddsr:job:<id>:result    sealed result; lives `result_ttl`, after its first reading `first_read_ttl`
    ddsr:idempotency:<mac>  hash: job, fingerprint, key
    ddsr:workers            set of worker names
    ddsr:worker:<name>      announcement of a worker; dies without heartbeat
    ddsr:webhooks           sorted set, `WATCHED`: id of a job that has not ended -> time to see whether it ever began;
                            of one that has, and whose webhook is to be told -> time of the next attempt
    ddsr:ended              channel, `ENDED`: id of a job that has just ended. Who misses it, or hears a forged one,
                            looks at the record, which alone decides

    queued -> running -> done | failed;  queued | running -> cancelled | expired

A worker holds a job by an execution id. `CLAIM` writes it, everything later compares it: an execution that
was taken over can neither report nor finish. A finished record stays as a tombstone, so that a late duplicate
of the queue's entry finds a terminal state and does nothing. The queue itself (RQ) holds ids only and is
never asked for a state, except to notice that it lost a job.

Times that decide something are the Redis server's; those that scripts take as arguments, from the caller's clock, are
for display only.
"""

PREFIX = "ddsr:job:"
WORKERS = "ddsr:workers"
WATCHED = "ddsr:webhooks"
ENDED = "ddsr:ended"


def record_key(job_id: str) -> str:
    return PREFIX + job_id


def request_key(job_id: str) -> str:
    return f"{PREFIX}{job_id}:request"


def result_key(job_id: str) -> str:
    return f"{PREFIX}{job_id}:result"


def idempotency_key(mac: str) -> str:
    return f"ddsr:idempotency:{mac}"


def worker_key(name: str) -> str:
    return f"ddsr:worker:{name}"


def request_context(kind: str, job_id: str) -> str:
    """What a sealed request is bound to."""
    return f"ddsr/v1|{kind}|{job_id}"


def result_context(kind: str, job_id: str) -> str:
    return f"ddsr/v1|{kind}-result|{job_id}"


def webhook_context(job_id: str) -> str:
    return f"ddsr/v1|webhook|{job_id}"


# KEYS: record. ARGV: execution, now, worker, attempts allowed.
# Returns {state, attempts}; state is 'running' when the caller now holds the job.
CLAIM = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return {'missing', 0} end
if state ~= 'queued' and state ~= 'running' then return {state, 0} end
local attempts = (tonumber(redis.call('HGET', KEYS[1], 'attempts')) or 0) + 1
redis.call('HSET', KEYS[1], 'attempts', attempts)
if attempts > tonumber(ARGV[4]) then return {'exhausted', attempts} end
redis.call('HSET', KEYS[1], 'state', 'running', 'execution', ARGV[1], 'started', ARGV[2], 'worker', ARGV[3])
redis.call('HDEL', KEYS[1], 'step', 'steps')
return {'running', attempts}
"""

# KEYS: records. ARGV: step, steps, then one execution for every record. Returns for each 1 (still held) or 0.
# One that is no hash at all is not held, and no hindrance to the others.
PROGRESS = """
local held = {}
for i, key in ipairs(KEYS) do
  local now = redis.pcall('HMGET', key, 'state', 'execution')
  held[i] = 0
  if now[1] == 'running' and now[2] == ARGV[2 + i] then
    redis.call('HSET', key, 'step', ARGV[1], 'steps', ARGV[2])
    held[i] = 1
  end
end
return held
"""

# KEYS: record, request, result, watched.
# ARGV: execution (empty: whoever), state, now, id, tombstone ttl, result ttl,
# error code, error detail, sealed result. Returns 1 when this call ended the job.
FINISH = f"""
local was = redis.call('HMGET', KEYS[1], 'state', 'execution', 'webhook')
if was[1] ~= 'queued' and was[1] ~= 'running' then return 0 end
if ARGV[1] ~= '' and (was[1] ~= 'running' or was[2] ~= ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'finished', ARGV[3])
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'error_code', ARGV[7], 'error_detail', ARGV[8]) end
redis.call('DEL', KEYS[2])
if ARGV[2] == 'done' then redis.call('SET', KEYS[3], ARGV[9], 'EX', ARGV[6]) end
redis.call('EXPIRE', KEYS[1], ARGV[5])
if was[3] then
  redis.pcall('ZADD', KEYS[4], redis.call('TIME')[1], ARGV[4])
else
  redis.pcall('ZREM', KEYS[4], ARGV[4])
end
redis.pcall('PUBLISH', '{ENDED}', ARGV[4])
return 1
"""

# KEYS: record, result. ARGV: now, life after the first reading. Returns the sealed result, or nothing.
READ = """
local sealed = redis.call('GET', KEYS[2])
if not sealed then return false end
if redis.call('HSETNX', KEYS[1], 'read', ARGV[1]) == 1 and redis.call('TTL', KEYS[2]) > tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return sealed
"""

# KEYS: queue, intermediate queue. ARGV: record prefix, batch, how many, how far to look.
# Moves fresh jobs of the same batch out of the queue, in order. A job that was tried before is left to run
# alone.
DRAIN = """
local taken = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[4]) - 1)) do
  if #taken >= tonumber(ARGV[3]) then break end
  local job = redis.pcall('HMGET', ARGV[1] .. id, 'batch', 'attempts', 'state')
  if job[1] == ARGV[2] and job[3] == 'queued' and (job[2] or '0') == '0' then
    redis.call('LREM', KEYS[1], 1, id)
    redis.call('RPUSH', KEYS[2], id)
    taken[#taken + 1] = id
  end
end
return taken
"""

# KEYS: record, watched. ARGV: id, how it ended, reason of the last attempt's failure.
TOLD = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], 'webhook', 'webhook_attempts', 'webhook_reason')
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'webhook_end', ARGV[2])
  if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'webhook_reason', ARGV[3]) end
end
"""

# KEYS: watched. ARGV: lease. Returns the id of a job that is due, put off by the lease, or nothing.
DUE = """
local now = redis.call('TIME')[1]
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if not due[1] then return false end
redis.call('ZADD', KEYS[1], tonumber(now) + tonumber(ARGV[1]), due[1])
return due[1]
"""
