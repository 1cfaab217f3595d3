"""A job's keys in Redis, and the steps of its life: each one a script, atomic and fenced.

    ddsr:job:<id>           hash: `shared.jobs.model.Record`
    ddsr:job:<id>:request   sealed request; deleted with the end of the job, not before (retries need it)
    ddsr:job:<id>:result    sealed result; lives `result_ttl`, after its first reading `first_read_ttl`
    ddsr:jobs:<kind>:<owner>  sorted set, all of score 0: `<microseconds since the epoch, 16 digits>-<id>` of each job
                            whose record may still be there
    ddsr:idempotency:<mac>  hash: job, fingerprint, key
    ddsr:workers            set of worker names
    ddsr:worker:<name>      announcement of a worker; dies without heartbeat
    ddsr:leases             sorted set: id of a job that has not ended -> time at which it counts as abandoned: as
                            expired while it is queued, as lost by its worker while it runs
    ddsr:webhooks           sorted set: id of a job that has ended -> time of the next attempt to tell its webhook
    ddsr:ended              channel: id of a job that has just ended. Who misses it, or hears a forged one, looks at
                            the record, which alone decides

    queued -> running -> done | failed;  queued | running -> cancelled;  queued -> expired;  running -> queued

`TAKE` writes an execution id into the record; `BEAT`, `PROGRESS` and `FINISH` compare it, so an execution whose job
was given to another can do nothing. `REAP` alone decides that a job has expired or was lost. An ended record stays as a
tombstone, so that a late duplicate of its id in the queue is thrown away. The queue (RQ's lists) holds ids only.

Times that decide something are the Redis server's.
"""

PREFIX = "ddsr:job:"
WORKERS = "ddsr:workers"
LEASES = "ddsr:leases"
WEBHOOKS = "ddsr:webhooks"
ENDED = "ddsr:ended"


def record_key(job_id: str) -> str:
    return PREFIX + job_id


def request_key(job_id: str) -> str:
    return f"{PREFIX}{job_id}:request"


def result_key(job_id: str) -> str:
    return f"{PREFIX}{job_id}:result"


def list_key(kind: str, owner: str) -> str:
    return f"ddsr:jobs:{kind}:{owner}"


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


# How a job ends, whoever ends it. With a full memory HSET is refused, so it comes first: all is done, or nothing.
_FINISH = f"""
local function finish(id, state, ttl, code, detail, webhook)
  local record = '{PREFIX}' .. id
  redis.call('HSET', record, 'state', state)
  if code ~= '' then redis.call('HSET', record, 'error_code', code, 'error_detail', detail) end
  redis.call('DEL', record .. ':request')
  redis.call('EXPIRE', record, ttl)
  redis.pcall('ZREM', '{LEASES}', id)
  if webhook then redis.pcall('ZADD', '{WEBHOOKS}', redis.call('TIME')[1], id) end
  redis.pcall('PUBLISH', '{ENDED}', id)
end
"""

# KEYS: record, request, queue, the owner's list, and the idempotency key where there is one.
# ARGV: id, longest queue, seconds that it may wait, life of the record, of the request, of the idempotency key,
# sealed request, number of the arguments that follow for the record, these, those for the idempotency key.
# Returns {'accepted', jobs before it}, {'full'}, {'claimed', job of the key}, or {'known'} for one that is there.
SUBMIT = f"""
if redis.call('EXISTS', KEYS[1]) == 1 then return {{'known'}} end
local waiting = redis.call('LLEN', KEYS[3])
if waiting >= tonumber(ARGV[2]) then return {{'full'}} end
local holder = KEYS[5] and redis.call('HGET', KEYS[5], 'job')
if holder then return {{'claimed', holder}} end
local fields = tonumber(ARGV[8])
redis.call('HSET', KEYS[1], unpack(ARGV, 9, 8 + fields))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('SET', KEYS[2], ARGV[7], 'EX', ARGV[5])
local now = redis.call('TIME')
redis.call('ZADD', '{LEASES}', now[1] + ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[4], 0, string.format('%010d%06d-', now[1], now[2]) .. ARGV[1])
redis.call('ZREMRANGEBYLEX', KEYS[4], '-', string.format('(%010d', now[1] - ARGV[4]))
redis.call('EXPIRE', KEYS[4], ARGV[4])
if KEYS[5] then
  redis.call('HSET', KEYS[5], unpack(ARGV, 9 + fields))
  redis.call('EXPIRE', KEYS[5], ARGV[6])
end
redis.call('RPUSH', KEYS[3], ARGV[1])
return {{'accepted', waiting}}
"""

# The record's fields, the place in the queue (from 0) of a queued job, whether a done one has its result.
_LOOK = """
local function look(id, record, result, queue)
  local fields, state = redis.pcall('HGETALL', record), nil
  if fields.err then fields = {} end  -- a forged key that is no hash
  for i = 1, #fields, 2 do
    if fields[i] == 'state' then state = fields[i + 1] end
  end
  local place = state == 'queued' and redis.call('LPOS', queue, id)
  local there = state == 'done' and redis.call('EXISTS', result) or 0
  return {fields, place, there}
end
"""

# KEYS: record, result, queue. ARGV: id. Changes nothing. Returns what `look` does.
VIEW = f"""
{_LOOK}
return look(ARGV[1], KEYS[1], KEYS[2], KEYS[3])
"""

# KEYS: the owner's list, queue. ARGV: where to begin ('+', or '(' and an entry), how many. Changes nothing.
# Returns each entry, newest first, with what `look` does of its job.
LIST = f"""
{_LOOK}
local found = {{}}
for i, entry in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[2])) do
  local id = string.sub(entry, 18)
  local record = '{PREFIX}' .. id
  found[i] = {{entry, look(id, record, record .. ':result', KEYS[2])}}
end
return found
"""

# KEYS: record, result. ARGV: owner, now, life after the first reading.
# Returns the record's fields, and of a done job of this owner the sealed result, whose first reading shortens its life.
READ = """
local fields, job = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do job[fields[i]] = fields[i + 1] end
local sealed = job.state == 'done' and job.owner == ARGV[1] and redis.call('GET', KEYS[2])
if sealed and redis.call('HSETNX', KEYS[1], 'read', ARGV[2]) == 1 then
  redis.call('EXPIRE', KEYS[2], ARGV[3], 'LT')
end
return {fields, sealed}
"""

# KEYS: queue, intermediate queue. ARGV: batch, how many, how far to look.
# Moves fresh jobs of the same batch out of the queue, in order. A job that was tried before is left to run alone.
DRAIN = f"""
local taken = {{}}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)) do
  if #taken >= tonumber(ARGV[2]) then break end
  local job = redis.pcall('HMGET', '{PREFIX}' .. id, 'batch', 'attempts', 'state')
  if job[1] == ARGV[1] and job[3] == 'queued' and (job[2] or '0') == '0' then
    redis.call('LREM', KEYS[1], 1, id)
    redis.call('RPUSH', KEYS[2], id)
    taken[#taken + 1] = id
  end
end
return taken
"""

# KEYS: record, intermediate queue. ARGV: id, execution, worker, seconds of silence after which it is abandoned.
# Returns {'taken', attempts} when the caller now holds the job, else {its state, 0}.
TAKE = f"""
local was = redis.pcall('HMGET', KEYS[1], 'state', 'attempts', 'seen')
if was[1] ~= 'queued' then
  redis.call('LREM', KEYS[2], 1, ARGV[1])
  return {{was.err and 'damaged' or was[1] or 'missing', 0}}
end
local now, attempts = redis.call('TIME'), (tonumber(was[2]) or 0) + 1
redis.call('HSET', KEYS[1], 'state', 'running', 'execution', ARGV[2], 'worker', ARGV[3], 'attempts', attempts,
  'started', string.format('%d.%06d', now[1], now[2]))
if was[3] then redis.call('HDEL', KEYS[1], 'seen') end
redis.call('ZADD', '{LEASES}', now[1] + ARGV[4], ARGV[1])
redis.call('LREM', KEYS[2], 1, ARGV[1])
return {{'taken', attempts}}
"""

# KEYS: queue, intermediate queue. ARGV: id. Puts a job that was not taken back to the end of the queue.
GIVE_BACK = f"""
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LREM', KEYS[2], 1, ARGV[1])
redis.pcall('HDEL', '{PREFIX}' .. ARGV[1], 'seen')
"""

# KEYS: records. ARGV: seconds until it is abandoned, then id and execution of each. Holds the jobs for so long again.
BEAT = f"""
local late = redis.call('TIME')[1] + ARGV[1]
for i, key in ipairs(KEYS) do
  local now = redis.pcall('HMGET', key, 'state', 'execution', 'seen')
  if now[1] == 'running' and now[2] == ARGV[2 * i + 1] then
    redis.call('ZADD', '{LEASES}', late, ARGV[2 * i])
    if now[3] then redis.call('HDEL', key, 'seen') end
  end
end
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

# KEYS: record, result, queue. ARGV: id, execution (empty: whoever holds it), state, life of the record, life of the
# result, error code, error detail, sealed result. Returns 1 when this call ended the job.
FINISH = f"""
{_FINISH}
local was = redis.pcall('HMGET', KEYS[1], 'state', 'execution', 'webhook')
if was[1] ~= 'queued' and was[1] ~= 'running' then return 0 end
if ARGV[2] ~= '' and (was[1] ~= 'running' or was[2] ~= ARGV[2]) then return 0 end
finish(ARGV[1], ARGV[3], ARGV[4], ARGV[6], ARGV[7], was[3])
if ARGV[3] == 'done' then redis.call('SET', KEYS[2], ARGV[8], 'EX', ARGV[5]) end
if was[1] == 'queued' then redis.call('LREM', KEYS[3], 0, ARGV[1]) end
return 1
"""

# KEYS: queue, intermediate queue. ARGV: attempts allowed, seconds that a job may wait, seconds that an id may stay in
# the intermediate queue, life of the record, code and detail of a lost job's error, seconds that a worker found silent
# has left for a beat: a clock that jumps makes every worker look silent once.
# Ends what waited too long; queues again what its worker abandoned, taken or not yet, and ends it after the last
# attempt. Returns id, kind and new state of each.
REAP = f"""
{_FINISH}
local now, reaped = tonumber(redis.call('TIME')[1]), {{}}
local function note(id, kind, state) reaped[#reaped + 1] = {{id, kind or '', state}} end
local function lost(id, kind, webhook)
  finish(id, 'failed', ARGV[4], ARGV[5], ARGV[6], webhook)
  note(id, kind, 'failed')
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', '{LEASES}', '-inf', now, 'LIMIT', 0, 100)) do
  local record = '{PREFIX}' .. id
  local job = redis.pcall('HMGET', record, 'state', 'attempts', 'kind', 'webhook', 'seen')
  if job[1] == 'queued' then
    finish(id, 'expired', ARGV[4], '', '', job[4])
    redis.call('LREM', KEYS[1], 0, id)
    note(id, job[3], 'expired')
  elseif job[1] ~= 'running' then
    redis.call('ZREM', '{LEASES}', id)
  elseif not job[5] then
    redis.call('HSET', record, 'seen', now)
    redis.call('ZADD', '{LEASES}', now + ARGV[7], id)
  elseif (tonumber(job[2]) or 0) >= tonumber(ARGV[1]) then
    lost(id, job[3], job[4])
  else
    redis.call('HSET', record, 'state', 'queued')
    redis.call('HDEL', record, 'execution', 'worker', 'started', 'step', 'steps', 'seen')
    redis.call('ZADD', '{LEASES}', now + ARGV[2], id)
    redis.call('RPUSH', KEYS[1], id)
    note(id, job[3], 'queued')
  end
end

for _, id in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  local record = '{PREFIX}' .. id
  local job = redis.pcall('HMGET', record, 'state', 'seen', 'returns', 'kind', 'webhook')
  local seen = tonumber(job[2])
  if job[1] ~= 'queued' then
    redis.call('LREM', KEYS[2], 0, id)
  elseif not seen then
    redis.call('HSET', record, 'seen', now)
  elseif now - seen > tonumber(ARGV[3]) then
    if (tonumber(job[3]) or 0) >= tonumber(ARGV[1]) then
      lost(id, job[4], job[5])
    else
      redis.call('HSET', record, 'returns', (tonumber(job[3]) or 0) + 1)
      redis.call('HDEL', record, 'seen')
      redis.call('RPUSH', KEYS[1], id)
      note(id, job[4], 'queued')
    end
    redis.call('LREM', KEYS[2], 0, id)
  end
end
return reaped
"""

# KEYS: webhooks. ARGV: lease. Returns the id of an ended job whose webhook is due, put off by the lease, or nothing.
DUE = """
local now = redis.call('TIME')[1]
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if not due[1] then return false end
redis.call('ZADD', KEYS[1], tonumber(now) + tonumber(ARGV[1]), due[1])
return due[1]
"""

# KEYS: record, webhooks. ARGV: id, how it ended, reason of the last attempt's failure.
TOLD = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], 'webhook', 'webhook_attempts', 'webhook_reason')
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'webhook_end', ARGV[2])
  if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'webhook_reason', ARGV[3]) end
end
"""
