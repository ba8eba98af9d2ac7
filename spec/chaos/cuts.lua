-- cuts.lua [CUTS [SEED]]: the connection to a persistent process is cut in each way at random instants, while calls with side effects are made:
-- sshd is killed; a relay is stopped, so that nothing comes any more; the stream ends amid a frame; it falls silent amid a frame. Each call is
-- performed exactly once. Prints `N passed, N failed, 0 skipped`.

package.path = "./?.lua;" .. package.path

local afar = require "afar"
local leaks = require "spec.support.leaks"
local sshd = require "spec.support.sshd"

local wanted, seed = tonumber(arg[1]) or 12, tonumber(arg[2]) or os.time()
math.randomseed(seed)

local WRITERS, BULK = 4, ("0123456789"):rep(5000)
local PING, MISSED = 0.2, 1 -- what is silent longer than (MISSED + 2) * PING has gone

local server, dir

-- ---- ways that break ----

local function amid_a_frame(rest)
  return function()
    local script = ("%s | { stdbuf -o0 head -c %d; %s; }"):format(afar.SCRIPT, math.random(20000, 400000), rest)
    return afar.here:bootstrap { "sh", "-c", script }
  end
end

local function parent_of(root) return root.machine.hello.ppid end

local ways = {
  ["sshd is killed"] = {
    open = function() return afar.here:ssh("afar1", { config = server.config }) end,
    cut = function(root)
      assert(afar.here:read_file(("/proc/%d/comm"):format(parent_of(root))):find "^sshd", "its parent is no sshd")
      afar.here:kill(parent_of(root), "SIGKILL")
    end,
  },
  ["a relay stops"] = {
    open = function()
      local counts = dir .. "/counts"
      local proxy = ("ProxyCommand=build/relay -c %s -t %%h:%%p"):format(counts)
      local root = afar.here:ssh("afar2", { config = server.config, options = { proxy } })
      return root, tonumber(afar.here:read_file(counts):match "pid%s+(%d+)")
    end,
    cut = function(_, relay) afar.here:kill(relay, "SIGSTOP") end,
    clean = function(relay) afar.here:kill(relay, "SIGKILL") end,
  },
  ["the stream ends amid a frame"] = { open = amid_a_frame "true" },
  ["the stream falls silent amid a frame"] = { open = amid_a_frame "sleep 3" },
}

local names = {}
for name in pairs(ways) do names[#names + 1] = name end
table.sort(names)

local now -- { name, root, extra, at }: the way that is used
local opened, seen = 0, {}

local function close(way)
  if ways[way.name].clean then ways[way.name].clean(way.extra) end
  way.root:disconnect()
end

--- The next way; each kind as often as the others.
local function open()
  opened = opened + 1
  local name = names[opened % #names + 1]
  local root, extra = ways[name].open()
  seen[name] = (seen[name] or 0) + 1
  now = { name = name, root = root, extra = extra, cut = ways[name].cut }
  return root
end

-- ---- the load ----

local function write(p, log, i, state)
  while opened <= wanted do
    log:write "x"
    state.calls = state.calls + 1
    if state.calls % 50 == 0 then
      state.kept[i] = state.calls
      p.kept["writer" .. i] = state.calls
    end
  end
end

local function cut_now_and_then()
  while opened <= wanted do
    afar.sleep(0.05 + math.random() * 0.3)
    local way = now
    if way.cut then
      way.cut(way.root, way.extra)
      way.cut = nil
    end
  end
end

local function run(n, failures)
  local path, state = dir .. "/socket", { calls = 0, kept = {} }
  local old
  local function reach()
    if old then n:spawn(close, old) end
    local root = open()
    old = now
    return root
  end
  local p = reach():fork():persistent(path, { reach = reach })
  local memory = p:ptr(BULK)
  afar.nursery(function(load)
    load:spawn(cut_now_and_then)
    load:spawn(function()
      while opened <= wanted do assert(memory:read() == BULK, "memory is read otherwise than it is") end
    end)
    for i = 1, WRITERS do
      load:spawn(write, p, p:open(dir .. "/log", "O_WRONLY|O_CREAT|O_APPEND", "0600"), i, state)
    end
  end)
  local size = afar.here:stat(dir .. "/log").st_size
  if size ~= state.calls then failures[#failures + 1] = ("%d calls, of which %d were performed"):format(state.calls, size) end
  for i, value in pairs(state.kept) do
    if p.kept["writer" .. i] ~= value then failures[#failures + 1] = ("writer%d is not what was kept last"):format(i) end
  end
  p:exit()
  close(old)
  return state.calls
end

leaks.prepare()
afar.here:fork():exit() -- links for new processes are there from now on
local before = leaks.snapshot()
server = sshd.start(2)
dir = afar.here:mkdtemp "/tmp/chaos-XXXXXX"
afar.set_pings(PING, MISSED)
local failures, calls = {}, 0
local ok, err = pcall(afar.nursery, function(n) calls = run(n, failures) end)
if not ok then failures[#failures + 1] = tostring(err) end
server:stop()
afar.here:remove_tree(dir, { force = true })
for _, left in ipairs(leaks.check(before, 6)) do failures[#failures + 1] = "left behind: " .. left end
for _, name in ipairs(names) do print(("%d times %s"):format(seen[name] or 0, name)) end
for _, failure in ipairs(failures) do print(("FAILED cuts: seed %d: %s"):format(seed, failure)) end
print(("%d calls, each performed once"):format(calls))
print(("%d passed, %d failed, 0 skipped"):format(ok and opened - 1 or 0, #failures))
os.exit(#failures == 0 and 0 or 1, true)
