--- Proves that something left nothing behind: no fd of ours or in this machine's root, no process that we or a test sshd
--- started, no file of a bootstrap.
---
---   local before = leaks.snapshot()
---   ...
---   assert.same({}, leaks.check(before))

local ffi = require "ffi"
local lfs = require "lfs"
local system = require "system"

ffi.cdef "int setenv(const char *name, const char *value, int overwrite);"

local leaks = {}

local PATIENCE = 20 -- seconds in which what is ending may end
local MARK = "AFAR_SPEC_RUN" -- in the environment of all that we start: finds also what has left our family

local own_pid = tonumber(lfs.symlinkattributes("/proc/self", "target"))
local own_value = ("%d-%d"):format(own_pid, os.time()) -- in a pid namespace of its own each run has the same pid
local own_mark = MARK .. "=" .. own_value

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

--- Names in a folder; none when it isn't there, or can't be read.
local function names(dir)
  local found = {}
  local ok, iterate, state = pcall(lfs.dir, dir)
  if not ok then return found end
  local last
  repeat
    ok, last = pcall(iterate, state)
    if ok and last and last ~= "." and last ~= ".." then found[#found + 1] = last end
  until not ok or not last
  return found
end

--- The sockets that are kept ready for new processes: always as many, but never the same ones for long.
local function ready_links()
  local links = package.loaded["afar.links"]
  return links and links.ready() or {}
end

local function own_fds()
  local fds, ready = {}, ready_links()
  for _, name in ipairs(names "/proc/self/fd") do
    -- Not the fd by which the folder itself was read.
    local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
    if target and not target:find "^/proc/%d+/fd$" and not ready[tonumber(name)] then fds["fd " .. name .. " (" .. target .. ")"] = true end
  end
  return fds
end

--- pid -> { ppid, label, key }, of all on this machine.
local function all_processes()
  local all = {}
  for _, name in ipairs(names "/proc") do
    local stat = name:find "^%d+$" and read("/proc/" .. name .. "/stat")
    local pid, comm, state, rest = (stat or ""):match "^(%d+) %((.*)%) (%a) (.*)$"
    if pid then
      local fields = {}
      for field in rest:gmatch "%S+" do
        fields[#fields + 1] = field
      end
      local label = ("process %s (%s%s)"):format(pid, comm, state == "Z" and ", a zombie" or "")
      all[tonumber(pid)] = { pid = tonumber(pid), ppid = tonumber(fields[1]), label = label, key = pid .. "@" .. fields[18] }
    end
  end
  return all
end

local function is_ours(process, all)
  local at = process
  for _ = 1, 100 do
    if not at then break end
    if at.ppid == own_pid then return true end
    at = all[at.ppid]
  end
  local environ = read("/proc/" .. process.pid .. "/environ")
  return environ and (environ .. "\0"):find(own_mark .. "\0", 1, true) ~= nil
end

--- What the fds of a process are: "12 (pipe:[345])"; and how many.
local function fds_of(pid)
  local list = names("/proc/" .. pid .. "/fd")
  local fds = { count = #list }
  for _, name in ipairs(list) do
    local target = lfs.symlinkattributes("/proc/" .. pid .. "/fd/" .. name, "target")
    fds[("%s (%s)"):format(name, target or "closed since")] = true
  end
  return fds
end

--- Those that were not there before, in one text.
local function new_fds(now, before)
  local list = {}
  for fd in pairs(now) do
    if not before[fd] then list[#list + 1] = fd end
  end
  table.sort(list)
  return table.concat(list, ", ")
end

--- key -> process: our descendants, and whoever inherited our mark.
local function our_processes()
  local all, ours = all_processes(), {}
  for pid, process in pairs(all) do
    if pid ~= own_pid and is_ours(process, all) then
      process.fds = fds_of(pid)
      ours[process.key] = process
    end
  end
  return ours
end

local watched = { "/tmp", "/var/tmp", "/dev/shm", os.getenv "XDG_RUNTIME_DIR", os.getenv "HOME", "." }

--- Looks for files of bootstraps in this folder too.
---@param dir string
function leaks.watch(dir) watched[#watched + 1] = dir end

local function our_files()
  local files = {}
  for _, dir in pairs(watched) do
    for _, name in ipairs(names(dir)) do
      if name:find "^%.afar%-" then files["file " .. dir .. "/" .. name] = true end
    end
  end
  return files
end

--- Marks what is started from now on.
function leaks.prepare() ffi.C.setenv(MARK, own_value, 1) end

local SLOTS, DEPTH = 150, 40 -- of one call; calls
local places = {}
for i = 1, SLOTS do places[i] = "x" .. i end
local overwrite = assert(loadstring(("local f, depth = ... local %s if depth > 0 then f(f, depth - 1) end"):format(table.concat(places, ", "))))
jit.off(overwrite)

--- Overwrites what functions that have returned have left on the stack: a later one holds it, where it has a place for what it has not come to yet.
function leaks.scrub() overwrite(overwrite, DEPTH) end

--- Lets the garbage go, and the loop turn.
local function pause(seconds)
  collectgarbage()
  collectgarbage()
  local sched = package.loaded["afar.sched"]
  if sched and sched.current() then
    sched.sleep(seconds)
  else
    system.sleep(seconds)
  end
end

local function take() return { fds = own_fds(), processes = our_processes(), files = our_files() } end

--- Until this machine's root has what was sent to it: the sockets for new processes among that.
local function settle()
  pause(0)
  local afar, sched = package.loaded["afar"], package.loaded["afar.sched"]
  if afar and sched and sched.current() then afar.here:getpid() end
end

--- What there is now.
---@return table before  for leaks.check
function leaks.snapshot()
  settle()
  return take()
end

local function compare(before)
  local now, left = take(), {}
  for _, kind in ipairs { "fds", "processes", "files" } do
    for key, value in pairs(now[kind]) do
      if not before[kind][key] then left[#left + 1] = value == true and key or value.label end
    end
  end
  for key, process in pairs(now.processes) do
    local old = (before.processes[key] or process).fds
    local more = process.fds.count - old.count
    if more > 0 then left[#left + 1] = ("%s has %d more fds; new are %s"):format(process.label, more, new_fds(process.fds, old)) end
  end
  table.sort(left)
  return left
end

--- What there is now and wasn't then: a list of descriptions, empty when all is well. Waits for what is just ending.
---@param before table
---@param patience? number  seconds
---@return string[]
function leaks.check(before, patience)
  local start = system.monotime()
  leaks.scrub()
  while true do
    pause(0)
    local left = compare(before)
    if #left == 0 or system.monotime() - start > (patience or PATIENCE) then return left end
    jit.flush() -- what is compiled holds the functions that a loop has called, and so what they have held
    pause(0.02)
  end
end

return leaks
