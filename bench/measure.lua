--- Rows of the table: a figure of afar's beside its baseline's, measured in turns in the same run, so that what else the machine does
--- troubles both. Each is the median of the rounds; the ratio is the median of the rounds' ratios.

local loop = require "afar.loop"

local measure = { rounds = tonumber(os.getenv "BENCH_ROUNDS") or 5 }

local function median(values)
  table.sort(values)
  local middle = (#values + 1) / 2
  return (values[math.floor(middle)] + values[math.ceil(middle)]) / 2
end

--- Seconds that `f` takes.
function measure.seconds(f)
  local start = loop.monotonic()
  f()
  return loop.monotonic() - start
end

--- Microseconds of one call of `f`, of `count`; some more are made first, so that the compiler has done its work.
function measure.each(count, f)
  for _ = 1, count / 10 do f() end
  return measure.seconds(function()
    for _ = 1, count do f() end
  end) / count * 1e6
end

--- What a program of the baselines prints: a number.
function measure.program(command)
  local pipe = assert(io.popen(command))
  local value = tonumber(pipe:read "*l")
  pipe:close()
  return assert(value, command .. " failed")
end

local function show(value, unit)
  if not value then return "-" end
  return (value < 10 and "%.2f %s" or value < 100 and "%.1f %s" or "%.0f %s"):format(value, unit)
end

---@class bench.Row
---@field name string
---@field unit string
---@field goal? string      of the ratio, as text
---@field ours fun():number
---@field base? fun():number
---@field rounds? integer

--- Measures a row and prints it.
---@param row bench.Row
function measure.row(row)
  local ours, base, ratios = {}, {}, {}
  for i = 1, row.rounds or measure.rounds do
    base[i] = row.base and row.base()
    ours[i] = row.ours()
    ratios[i] = base[i] and ours[i] / base[i]
  end
  local ratio = #ratios > 0 and ("%.2f"):format(median(ratios)) or "-"
  print(("%-46s %12s %12s %7s  %s"):format(row.name, show(median(ours), row.unit), show(#base > 0 and median(base), row.unit), ratio, row.goal or ""))
  io.stdout:flush()
end

return measure
