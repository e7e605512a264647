-- Sends signed push deliveries, each under an id of its own, and counts the answers.
-- Usage: wrk … -s push.lua <url> -- <file of pushes> <prefix of ids>

local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(arguments)
  pushes = dofile(arguments[1])
  prefix = arguments[2] .. "-" .. number .. "-"
  sent, accepted, other = 0, 0, 0
end

function request()
  sent = sent + 1
  local push = pushes[sent % #pushes + 1]
  push.headers["X-GitHub-Delivery"] = prefix .. sent
  return wrk.format("POST", nil, push.headers, push.body)
end

function response(status)
  if status == 202 then accepted = accepted + 1 else other = other + 1 end
end

function done(summary, latency)
  local taken, refused = 0, 0
  for _, thread in ipairs(threads) do
    taken = taken + thread:get("accepted")
    refused = refused + thread:get("other")
  end
  local errors = summary.errors
  io.write(string.format(
    'result {"accepted": %d, "refused": %d, "broken": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f}\n',
    taken, refused, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
