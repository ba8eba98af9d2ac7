--- For p:copy_tree: which files are at the destination already, so that they need not be sent.

local requests = require "afar.requests"
local directory = require "afar.directory"
local errors = require "afar.error"
local Item = require "afar.copytree.item"
local nursery = require "afar.nursery"
local place = require "afar.copytree.place"
local stats = require "afar.stat"

local unchanged = {}

local MTIME = 16 -- bytes of a timespec

local function mtime_of(p, bytes)
  local at = stats.offset(p.machine, "st_mtime")
  return bytes:sub(at + 1, at + MTIME)
end

--- The files of `items` whose likes are at the destination: as large, of the same kind. `there`: what stat(2) says of them, by item.
local function candidates(job, to_dir, items)
  local files, names, there = {}, {}, {}
  for _, item in ipairs(items) do
    if item.kind == "file" then
      files[#files + 1] = item
      names[#names + 1] = item.name
    end
  end
  if #files == 0 then return {}, there end
  local r = requests.record(job.to)
  local finish = directory.record_stats(r, to_dir.number, names, job.C.AT_SYMLINK_NOFOLLOW)
  r:run()
  local found, alike = finish(r), {}
  for i, item in ipairs(files) do
    local stat = found[i] and stats.decode(job.to.machine, found[i])
    if stat and stat.type == "file" and stat.st_size == item.stat.st_size then
      alike[#alike + 1] = item
      there[item] = { stat = stat, same_time = mtime_of(job.to, found[i]) == mtime_of(job.from, item.bytes) }
    end
  end
  return alike, there
end

-- ---- the two ways to tell ----

local tell = {}

function tell.time(_, alike, there)
  local same = {}
  for _, item in ipairs(alike) do
    if there[item].same_time then same[#same + 1] = item end
  end
  return same
end

--- What sha256sum says of files, by path: nothing of those that it can't read, or whose names it would write otherwise.
local function sums(p, paths)
  local command = { "sha256sum", "--", check = false }
  for _, path in ipairs(paths) do
    if not path:find "[\n\r\\]" then command[#command + 1] = path end
  end
  local found = {}
  if #command == 2 then return found end
  local ok, result = pcall(p.run, p, command)
  if not ok and errors.is(result, "ENOENT") then
    error(errors.new(p, "copy_tree", nil, 'there is no sha256sum; unchanged = "time" needs none', { name = "ENOENT" }), 0)
  end
  if not ok then error(result, 0) end
  for sum, path in result.stdout:gmatch "(%x+) [ *]([^\n]*)\n" do
    if #sum == 64 then found[path] = sum end
  end
  return found
end

function tell.checksum(job, alike)
  local from, to, sources, targets = nil, nil, {}, {}
  for i, item in ipairs(alike) do sources[i], targets[i] = Item.source(job, item), Item.target(job, item) end
  nursery.nursery(function(n)
    n:spawn(function() from = sums(job.from, sources) end)
    n:spawn(function() to = sums(job.to, targets) end)
  end)
  local same = {}
  for _, item in ipairs(alike) do
    local sum = from[Item.source(job, item)]
    if sum and sum == to[Item.target(job, item)] then same[#same + 1] = item end
  end
  return same
end

unchanged.ways = { time = true, checksum = true }

--- Marks what need not be sent: item.kind is "same" then. Owner, mode and times are put right.
---@param job table
---@param to_dir afar.Fd
---@param items table[] of one directory, classified
function unchanged.mark(job, to_dir, items)
  local alike, there = candidates(job, to_dir, items)
  local same = #alike > 0 and tell[job.unchanged](job, alike, there) or {}
  local refused = place.adjust(job, to_dir, same, there)
  for _, item in ipairs(same) do
    if not refused[item] then
      item.kind, item.alone = "same", false
      job.same = job.same + 1
    end
  end
end

return unchanged
