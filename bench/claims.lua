-- Claims for wrk. The job is a Lua table in the file that the first argument names; bench/wrk.py writes it.
--
-- After `seconds` of sending, each connection gets half a request, which the server waits for without work, so that
-- what is in flight is answered and counted and nothing is cut off. When all have got theirs, wrk is told to end.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long sec; long nsec; } holdfast_timespec;
  int clock_gettime(int clock, holdfast_timespec *now);
  int getpid(void);
  int kill(int pid, int signal);
]]

local MONOTONIC, INTERRUPT = 1, 2
local now_at = ffi.new("holdfast_timespec")
local threads = {}
local job

-- Globals, because the thread that reports at the end sees no others.
sent, drained, began, ended, out_path = -1, 0, 0, 0, ""

local function now()
  ffi.C.clock_gettime(MONOTONIC, now_at)
  return tonumber(now_at.sec) + tonumber(now_at.nsec) / 1e9
end

local bodies = {
  standing = function(i)
    return string.format('{"quantity":2,"customer":{"email":"guest%d@example.org","name":"Guest %d"}}', i, i)
  end,
  best = function(i)
    return string.format('{"best_available":2,"customer":{"email":"guest%d@example.org","name":"Guest %d"}}', i, i)
  end,
  pairs = function(i)
    -- A walk over all pairs of neighbours that comes to each once and jumps about as buyers do.
    local pair = i % job.per_show * job.stride % job.per_show
    return string.format('{"seats":["%d","%d"],"customer":{"email":"guest%d@example.org","name":"Guest %d"}}',
      2 * pair + 1, 2 * pair + 2, i, i)
  end,
}

local function path_of(i)
  if job.spread then return job.paths[i % #job.paths + 1] end
  return job.paths[math.floor(i / job.per_show) % #job.paths + 1]
end

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  job = dofile(args[1])
  out_path = job.out
end

function request()
  -- wrk asks once before it begins, to see how many requests come at a time; that one is not sent.
  if sent < 0 then
    sent = 0
  else
    local at = now()
    if began == 0 then began = at end
    if at - began >= job.seconds then
      drained, ended = drained + 1, at
      if drained == job.connections then ffi.C.kill(ffi.C.getpid(), INTERRUPT) end
      return "GET / HTTP/1.1\r\n"
    end
    sent = sent + 1
  end
  local i = job.start + math.max(sent - 1, 0)
  local body = bodies[job.kind](i)
  return string.format(
    "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: holdfast-bench\r\nAccept: application/json\r\n" ..
    "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path_of(i), #body, body)
end

function done(summary, latency, _)
  local thread, errors = threads[1], summary.errors
  local out = assert(io.open(thread:get("out_path"), "w"))
  out:write(string.format(
    '{"sent":%d,"answered":%d,"refused":%d,"broken":%d,"drained_seconds":%.6f,' ..
    '"avg":%.4f,"p50":%.4f,"p95":%.4f,"p99":%.4f,"max":%.4f}',
    thread:get("sent"), summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    thread:get("ended") - thread:get("began"), latency.mean / 1000, latency:percentile(50) / 1000,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
  out:close()
end
