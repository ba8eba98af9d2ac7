--- Rows of the table: a figure of afar's beside its baseline's, measured in turns in the same run, so that what else the machine does
--- troubles both. Each is the median of the rounds; the ratio is the median of the rounds' ratios. All figures are costs: less is better.

local cpu = require "cpu"
local loop = require "afar.loop"

local SIZE = os.getenv "BENCH_SIZE" or "short"
local SECONDS = 3

local measure = { rounds = tonumber(os.getenv "BENCH_ROUNDS") or SIZE == "tiny" and 1 or 5, tiny = SIZE == "tiny", long = SIZE == "long" }

--- How much is done: "tiny" only shows that a row works.
function measure.size(tiny, short, long)
  if SIZE == "tiny" then return tiny end
  return SIZE == "long" and long or short
end

-- ---- taking time ----

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

--- The same, for some seconds at most: ssh has bad minutes. Returns how many calls it were, too.
function measure.some(count, f)
  for _ = 1, count / 10 do f() end
  local start, done = loop.monotonic(), 0
  repeat
    f()
    done = done + 1
  until done == count or loop.monotonic() - start > SECONDS
  return (loop.monotonic() - start) / done * 1e6, done
end

--- What a program of the baselines prints: a number.
function measure.program(command)
  local pipe = assert(io.popen(command))
  local value = tonumber(pipe:read "*l")
  pipe:close()
  return assert(value, command .. " failed")
end

--- Seconds that a shell command takes, which must succeed.
function measure.shell(command)
  return measure.seconds(function() assert(os.execute(command) == 0, command) end)
end

-- ---- what the figures say ----

local function summary(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = (#sorted + 1) / 2
  return {
    median = (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2, least = sorted[1], most = sorted[#sorted], values = values,
  }
end

--- Whether a row is as it should be. goal: a ratio; or { plus = n }: so much more than the baseline; or { most = n }.
local function reached(row, result)
  local goal = row.goal
  if result.tally and result.tally.made < result.tally.asked then return false end
  if goal == nil then return nil end
  if type(goal) == "number" then return result.ratio.median <= goal end
  if goal.plus then return result.ours.median - result.base.median <= goal.plus end
  return result.ours.median <= goal.most
end

local function show_goal(row)
  local goal = row.goal
  if goal == nil then return "" end
  if type(goal) == "number" then return ("%.4g x"):format(goal) end
  return goal.plus and ("+ %g %s"):format(goal.plus, row.unit) or ("%g %s"):format(goal.most, row.unit)
end

-- ---- showing ----

local function show(figure, unit)
  if not figure then return "-" end
  local value = figure.median
  return (value < 10 and "%.2f %s" or value < 100 and "%.1f %s" or "%.0f %s"):format(value, unit)
end

local function spread(figure)
  if not figure or figure.median == 0 then return "" end
  return ("%.0f%%"):format((figure.most - figure.least) / math.abs(figure.median) * 100)
end

local VERDICT = { [true] = "ok", [false] = "MISSED" }

local function print_row(row, result)
  print(("%-56s %10s %5s %10s %5s %6s %8s %-6s %6.2f %6.2f"):format(
    row.name, show(result.ours, row.unit), spread(result.ours), show(result.base, row.unit), spread(result.base),
    result.ratio and ("%.2f"):format(result.ratio.median) or "-", show_goal(row), VERDICT[result.reached] or "",
    result.cpu.ours, result.cpu.base or 0
  ))
  io.stdout:flush()
end

local function quote(text) return '"' .. text:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"' end

--- JSON of numbers, strings, booleans, lists and tables with names.
local function json(value)
  if type(value) == "string" then return quote(value) end
  if type(value) ~= "table" then return type(value) == "number" and ("%.6g"):format(value) or tostring(value) end
  local parts = {}
  if value[1] ~= nil then
    for i, item in ipairs(value) do parts[i] = json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for name, item in pairs(value) do parts[#parts + 1] = quote(name) .. ":" .. json(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

local function store(result)
  local path = os.getenv "BENCH_ROWS"
  if not path then return end
  local file = assert(io.open(path, "a"))
  file:write(json(result), "\n")
  file:close()
end

-- ---- rows ----

---@class bench.Row
---@field id string         short, without spaces; with the mode it is unique
---@field name string
---@field mode? string      "one": all on one CPU; "two": the host on one, the process on the other; "free"
---@field unit string
---@field goal? number|{ plus: number }|{ most: number }
---@field ours fun():number, integer?  and how many calls it were, if not what tally says
---@field base? fun():number
---@field rounds? integer
---@field tally? { [1]: afar.Process, [2]: integer }  `ours` makes at least so many system calls in that process

--- One measurement; and the CPU seconds of all who took part.
local function timed(f)
  local before = cpu.seconds()
  local value, calls = f()
  return value, cpu.seconds() - before, calls
end

--- What `ours` costs, and how many calls were made meanwhile by the process that is to make them.
local function timed_ours(row, tally)
  local before = row.tally and row.tally[1]:tally()
  local value, used, calls = timed(row.ours)
  if before then
    tally.asked = tally.asked + (calls or row.tally[2])
    tally.made = tally.made + row.tally[1]:tally() - before
  end
  return value, used
end

--- All rounds; who begins takes turns.
local function take_rounds(row)
  local ours, base, ratios, our_cpu, base_cpu = {}, {}, {}, {}, {}
  local tally = { asked = 0, made = 0 }
  for i = 1, row.rounds and math.min(row.rounds, measure.rounds) or measure.rounds do
    if i % 2 == 0 then ours[i], our_cpu[i] = timed_ours(row, tally) end
    if row.base then base[i], base_cpu[i] = timed(row.base) end
    if i % 2 == 1 then ours[i], our_cpu[i] = timed_ours(row, tally) end
    ratios[i] = base[i] and ours[i] / base[i]
  end
  return {
    ours = summary(ours), base = row.base and summary(base), ratio = row.base and summary(ratios), tally = row.tally and tally,
    cpu = { ours = summary(our_cpu).median, base = row.base and summary(base_cpu).median },
  }
end

--- Measures a row, prints it, and keeps it for build/bench.json.
---@param row bench.Row
function measure.row(row)
  local result = take_rounds(row)
  result.id, result.name, result.mode, result.unit, result.goal = row.id, row.name, row.mode or "free", row.unit, row.goal
  result.reached = reached(row, result)
  print_row(row, result)
  store(result)
  return result
end

return measure
