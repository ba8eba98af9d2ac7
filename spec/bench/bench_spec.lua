-- Each benchmark still runs, in its smallest form, and its figures come out. (Whether they are good is not for a spec.)

local afar = require "afar"
local cjson = require "cjson"
local sshd = require "spec.support.sshd"

local SECTIONS = { "calls", "crowd", "files", "spawn", "start", "pipes", "strings", "idle", "memory", "ssh", "small", "many" }

--- What each section must have, at least.
local ROWS = {
  calls = { "call-ring", "call-root", "call-stream", "chain-ring", "chain-stream" },
  crowd = { "crowd-ring", "crowd-chain", "crowd-stream" },
  files = { "file-ring", "file-stream" },
  spawn = { "spawn", "spawn-64", "clone-exit" },
  start = { "start" },
  pipes = { "pipes" },
  strings = { "strings", "strings-reader" },
  idle = { "notice", "notice-fresh" },
  memory = { "memory", "memory-most", "memory-fds" },
  ssh = {
    "ssh-call", "ssh-call-child", "bootstrap", "bootstrap-slow", "bulk-from", "bulk-to", "bulk-read", "bulk-slow-from", "bulk-slow-to", "bulk-slow-read",
  },
  small = { "small-to", "small-to-connected", "small-from", "small-from-connected" },
  many = { "many", "many-memory" },
}

local has_ssh = pcall(function() sshd.start(1):stop() end)
local has_programs = pcall(afar.here.access, afar.here, "build/bench/pingpong")

--- The rows of one section, by id and mode.
local function run(section)
  local path = os.tmpname()
  local result = afar.here:run {
    "sh", "bench/run.sh", section, env = { BENCH_SIZE = "tiny", BENCH_JSON = path }, timeout = 240, check = false,
  }
  local text = afar.here:read_file(path)
  os.remove(path)
  assert.equal("exit code 0", tostring(result.status), result.stdout .. result.stderr)
  local rows = {}
  for _, row in ipairs(cjson.decode(text).rows) do
    rows[row.id] = row
    assert.equal("number", type(row.ours.median), row.id)
    assert.equal("number", type(row.cpu.ours), row.id)
    assert.is_truthy(result.stdout:find(row.name, 1, true))
    if row.tally then assert.is_true(row.tally.made >= row.tally.asked and row.tally.asked > 0, row.id) end
  end
  return rows
end

describe("the benchmark of", function()
  for _, section in ipairs(SECTIONS) do
    it(section, function()
      if not has_programs then return pending "build/bench is not there: make bench" end
      if (section == "ssh" or section == "small" or section == "many") and not has_ssh then return pending "no sshd" end
      if section == "memory" and afar.here:prlimit(0, "RLIMIT_NOFILE").hard < 2000 then return pending "too few fds: ulimit -Hn" end
      local rows = run(section)
      for _, id in ipairs(ROWS[section]) do
        assert.is_truthy(rows[id], id .. " is missing")
        if rows[id].base then
          assert.is_true(rows[id].base.median > 0, id)
          assert.equal("number", type(rows[id].ratio.median), id)
        end
      end
    end)
  end

  it("says which rows have missed their goal, and why: calls that were not made", function()
    local code = [[
      package.path = "bench/?.lua;" .. package.path
      local measure = require "measure"
      local p = require("afar").here:fork()
      local function row(goal, calls, ours, base)
        return measure.row {
          id = "x", name = "x", unit = "us", goal = goal, tally = { p, 10 }, base = function() return base end,
          ours = function()
            for _ = 1, calls do p:getppid() end
            return ours
          end,
        }.reached
      end
      print(row(2, 10, 19, 10), row(2, 10, 21, 10), row(2, 9, 1, 10))
      print(row({ plus = 5 }, 10, 15, 10), row({ plus = 5 }, 10, 16, 10), row({ most = 3 }, 10, 3, 10))]]
    local out = afar.here:run({ os.getenv "AFAR" or "build/afar", "-e", code, env = { BENCH_SIZE = "tiny" } }).stdout
    assert.matches("\ntrue\tfalse\tfalse\n.*\ntrue\tfalse\ttrue\n$", out)
  end)
end)
