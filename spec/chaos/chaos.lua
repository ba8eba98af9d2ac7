-- chaos.lua [ROUNDS [SEED]]: a host is killed at a random instant while it changes what a persistent process keeps; another finds all that was
-- acknowledged, nothing half-made, and nothing left over. Each fifth host comes over ssh; with an odd seed the process is a root.
-- Prints `N passed, N failed, 0 skipped`.

package.path = "./?.lua;" .. package.path

local afar = require "afar"
local leaks = require "spec.support.leaks"
local other = require "spec.support.other_host"
local probe = require "spec.support.probe"
local sshd = require "spec.support.sshd"

local rounds, seed = tonumber(arg[1]) or 25, tonumber(arg[2]) or os.time()
math.randomseed(seed)

local WORKER = assert(io.open "spec/chaos/worker.lua"):read "*a"
local SSH_EACH = 5
local FDS_MOST = 24 -- of a process that keeps six things

--- name -> { kind, value }: what was acknowledged, and what was tried after that.
local known, tried = {}, nil

local function learn(line)
  local word, name, kind, value = line:match "^(%a+) (%a+) ?(%a*) ?(.*)$"
  if word == "try" then
    tried = { name = name, kind = kind, value = value }
  elseif word == "done" then
    known[tried.name] = tried.kind ~= "nothing" and tried or nil
    tried = nil
  end
end

local function read_all(from)
  local text = ""
  while true do
    local part = from:read()
    if part == "" then break end
    text = text .. part
  end
  from:close()
  for line in text:gmatch "([^\n]*)\n" do learn(line) end
end

--- What an entry is, as a worker says it.
local function seen(p, name)
  local value = p.kept[name]
  if value == nil then return nil end
  if type(value) == "string" then return { kind = "data", value = value } end
  if getmetatable(value).__name == "child" then return { kind = "child", value = tostring(value.pid) } end
  return { kind = "fd", value = tostring(value.number) }
end

local function same(a, b)
  local none_a, none_b = a == nil or a.kind == "nothing", b == nil or b.kind == "nothing"
  if none_a or none_b then return none_a and none_b end
  return a.kind == b.kind and a.value == b.value
end

local function check(p)
  for name, why in pairs(p:lost()) do
    error(("%s is lost: %s"):format(name, why), 0)
  end
  for _, name in ipairs { "a", "b", "c", "d", "e", "f" } do
    local now = seen(p, name)
    local ok = same(now, known[name]) or (tried and tried.name == name and same(now, tried))
    if not ok then
      error(("%s is %s, and should be %s"):format(name, now and now.kind or "nothing", known[name] and known[name].kind or "nothing"), 0)
    end
    if now and now.kind == "child" and not probe.runs(now.value) then error(name .. "'s child does not run", 0) end
    known[name] = now
  end
  tried = nil
end

local inherited = {} -- numbers that it had from the beginning, from whoever started all this

local function note_inherited(path)
  local p = afar.reconnect(path)
  for _, one in ipairs(p:unclaimed()) do inherited[one.fd.number] = true end
  p:disconnect()
end

--- What the one that was killed had not given a name yet: half of a child to be, a file.
local function clean(p)
  for _, one in ipairs(p:unclaimed()) do
    if one.child then
      one.child:kill "SIGKILL"
      one.child:wait()
    elseif not inherited[one.fd.number] then
      one.fd:close()
    end
  end
  if probe.fds(p) > FDS_MOST then error(("it has %d fds"):format(probe.fds(p)), 0) end
end

local function round(path, config)
  local worker, _, from = other.start("math.randomseed(0) " .. WORKER, path, tostring(math.random(1e9)), config)
  local killed
  afar.nursery(function(n)
    n:spawn(read_all, from)
    n:spawn(function()
      afar.sleep(math.random() * 0.15)
      killed = other.kill(worker)
    end)
  end)
  if killed.signal ~= "SIGKILL" then error("the host ended by itself: " .. tostring(killed), 0) end
  local p = afar.reconnect(path)
  check(p)
  clean(p)
  p:disconnect()
end

local function run(path)
  local passed, failed = 0, 0
  local server = sshd.start(1)
  local which = seed % 2 == 0 and "here:fork()" or "here"
  local pid = tonumber(other.run(([[print(require("afar").%s:persistent((...)).pid)]]):format(which), path))
  note_inherited(path)
  for i = 1, rounds do
    local ok, err = pcall(round, path, i % SSH_EACH == 0 and server.config or nil)
    if ok then
      passed = passed + 1
    else
      failed = failed + 1
      print(("FAILED chaos: round %d of seed %d: %s"):format(i, seed, tostring(err)))
    end
  end
  local bytes = probe.rss(pid)
  if bytes > 16e6 then
    failed = failed + 1
    print(("FAILED chaos: the process has grown to %d bytes"):format(bytes))
  end
  afar.reconnect(path):exit()
  server:stop()
  return passed, failed
end

leaks.prepare()
afar.here:fork():exit() -- links for new processes are there from now on
local before = leaks.snapshot()
local counts = afar.here:with_tempdir(function(dir) return { run(dir .. "/socket") } end, "/tmp/chaos-XXXXXX")
local passed, failed = counts[1], counts[2]
for _, left in ipairs(leaks.check(before)) do
  failed = failed + 1
  print("FAILED chaos: left behind: " .. left)
end
print(("%d passed, %d failed, 0 skipped"):format(passed, failed))
os.exit(failed == 0 and 0 or 1, true)
