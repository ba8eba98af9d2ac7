-- A supervisor: keeps programs running, restarts what dies with growing pauses, gives up on what never works, and rotates their logs.
--
--   afar examples/supervisor.lua [LOG-DIRECTORY]
--
-- Its state is a few local variables of one routine for each service; nothing is polled. Ctrl-C, or the end of the last one, ends them all.

local afar = require "afar"

local here = afar.here
local dir = arg[1] or here:mkdtemp()

local services = {
  { name = "clock", command = { "sh", "-c", "for i in 1 2 3 4; do echo tick $i; sleep 0.02; done; exit 1" }, tries = 3 },
  { name = "worker", command = { "sh", "-c", "echo did my work" }, tries = 1 },
  { name = "broken", command = { "/no/such/program" }, tries = 2 },
}

local LOG_SIZE, LOGS_KEPT = 20, 2 -- bytes after which the log is put aside, also while its program runs; and how many stay

--- Puts the log aside: it becomes name.1, that name.2, and so on.
local function rotate(path)
  for i = LOGS_KEPT, 1, -1 do
    afar.try(here.rename, here, i == 1 and path or path .. "." .. i - 1, path .. "." .. i)
  end
end

--- Writes into the log what comes from the pipe, until nobody has its other end any more.
local function keep_log(path, from)
  local function open() return here:open(path, "O_WRONLY|O_CREAT|O_APPEND", "0600") end
  local log = open()
  local size = log:fstat().st_size
  for line in from:lines() do
    if size + #line + 1 > LOG_SIZE then
      log:close()
      rotate(path)
      log, size = open(), 0
    end
    size = size + log:write(line .. "\n")
  end
  log:close()
  from:close()
end

--- Runs it once, in a process group of its own; its status, or why it could not be started.
local function run_once(service)
  local from, to = here:pipe2()
  local p = here:fork()
  local mine = p:inherit(to)
  to:close()
  return afar.nursery(function(n)
    n:spawn(keep_log, dir .. "/" .. service.name .. ".log", from)
    p:setpgid()
    local child, err = afar.try(p.exec, p, { stdout = mine, stderr = mine, unpack(service.command) })
    if child then return child:wait() end
    p:exit(127)
    return err
  end)
end

local function supervise(service)
  local pause = 0.01
  for try = 1, service.tries do
    local began = afar.now()
    local status = run_once(service)
    print(("%s: %s"):format(service.name, afar.is_error(status) and status.name or tostring(status)))
    if status.ok then return end
    if afar.now() - began > 10 then pause = 0.01 end -- it had worked: this is a new failure
    if try < service.tries then afar.sleep(pause) end
    pause = math.min(pause * 2, 60)
  end
  print(("%s: given up after %d tries"):format(service.name, service.tries))
end

afar.nursery(function(n)
  for _, service in ipairs(services) do n:spawn(supervise, service) end
end)

print("logs:")
for _, name in ipairs(here:listdir(dir)) do print("  " .. name) end
if not arg[1] then here:remove_tree(dir) end
