-- Arguments: number of files, bytes of each. The files are asked for in turn; any answer but 200 makes the run fail.
local requests = {}
local next_request = 0

function init(arguments)
    for i = 0, tonumber(arguments[1]) - 1 do
        requests[i] = wrk.format("GET", "/" .. i)
    end
end

function request()
    next_request = (next_request + 1) % (#requests + 1)
    return requests[next_request]
end

function done(summary, latency, _)
    local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
    local seconds = summary.duration / 1e6
    -- Bytes that came, headers among them: whole answers only would lose those that the end cut short.
    if failed ~= 0 or summary.errors.status ~= 0 or summary.requests == 0 then
        io.write(string.format('{"failed":%d,"status":%d}\n', failed, summary.errors.status))
        os.exit(1)
    end
    io.write(string.format('{"bytes_per_second":%.0f,"requests_per_second":%.1f,"p50_us":%d}\n',
        summary.bytes / seconds, summary.requests / seconds, latency:percentile(50)))
end
