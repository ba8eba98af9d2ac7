--- p:run{ ... }: a program is run to its end, and what it wrote is collected.

local requests = require "afar.requests"
local clone = require "afar.clone"
local command = require "afar.command"
local errors = require "afar.error"
local exec = require "afar.exec"
local fds = require "afar.fd"
local gate = require "afar.gate"
local hello = require "afar.hello"
local nursery = require "afar.nursery"
local passing = require "afar.passing"
local process = require "afar.process"
local programs = require "afar.program"
local pump = require "afar.pump"
local sched = require "afar.sched"
local u32 = require("afar.bytes").u32

---@class afar.Result
---@field status afar.Status
---@field stdout string  what it wrote there ("" when that was sent elsewhere)
---@field stderr string
local Result = { __name = "result of a run" }
Result.__index = Result

function Result:__tostring() return tostring(self.status) end

--- At the prompt: what it wrote, and how it ended.
function Result:__prompt()
  local lines = {}
  for _, name in ipairs { "stdout", "stderr" } do
    if self[name] ~= "" then lines[#lines + 1] = (self[name]:gsub("\n$", "")) end
  end
  lines[#lines + 1] = tostring(self.status)
  return table.concat(lines, "\n")
end

-- ---- the pipes ----
-- Each is two numbers in the parent's memory, at `at`: pipe2(2) puts them there, so that all can be recorded before it is known which.
-- They are the run's until drop(): parent and child both read them there.

local NO_FD = 2 ^ 32 - 1

local LATER = { later = true } -- nobody waits for that alone

local function record_pipe(r, parent, ours)
  local C, o = parent.machine.sys.C, r.is_later and LATER or nil
  local pipe = { at = parent.space:alloc(parent, 8), space = parent.space, ours = ours, theirs = 1 - ours }
  r:store(pipe.at, ("\255"):rep(8)) -- no fds, if it can't be made
  r:call("pipe2", o, pipe.at, C.O_CLOEXEC)
  r:call("fcntl", o, requests.load32(pipe.at + 4 * ours), C.F_SETFL, C.O_NONBLOCK)
  return pipe
end

--- Our end as a channel of the root's, or (any other process) as an fd of its own.
local function take_end(r, parent, pipe)
  if not parent.is_root then
    pipe.numbers = r:fetch(pipe.at, 8, { always = true, aside = true })
    return
  end
  local flag = pipe.ours == 0 and hello.ATTACH_READ or hello.ATTACH_WRITE
  pipe.channel = parent.machine.stream:channel(hello.WINDOW, hello.WINDOW)
  pipe.attach = r:attach(pipe.channel:number(), requests.load32(pipe.at + 4 * pipe.ours), flag, hello.WINDOW, hello.WINDOW, { later = r.is_later })
end

local function adopt(r, parent, pipe)
  if pipe.attach then
    local number = r:result(pipe.attach)
    if number and number >= 0 then parent.machine.root.table.internal[number] = true end
    return
  end
  local numbers = r:data(pipe.numbers)
  local number = numbers and u32(numbers, 4 * pipe.ours + 1) or NO_FD
  if number ~= NO_FD then pipe.fd = fds.new(parent, number, "pipe") end
end

-- ---- moving the bytes ----

local function read_fd(fd)
  local parts = {}
  while true do
    local data = fd:read(65536)
    if data == "" then break end
    parts[#parts + 1] = data
  end
  return table.concat(parts)
end

local function write_channel(channel, data)
  pump.write(channel, data) -- a program that closes its stdin early is within its rights
  channel:eof() -- and no close yet, which would drop what the root still holds
end

local function write_fd(fd, data)
  local ok, err = nursery.try(fd.write, fd, data)
  fd:close()
  if not ok and not errors.is(err, "EPIPE") then error(err, 0) end
end

local function read_end(pipe)
  if pipe.channel then return (pump.read_all(pipe.channel)) end
  return read_fd(pipe.fd)
end

local function write_end(pipe, data)
  if pipe.channel then return write_channel(pipe.channel, data) end
  return write_fd(pipe.fd, data)
end

-- ---- run ----

local function is_text(value) return type(value) == "string" and value ~= "null" and value ~= "stdout" end

--- Which pipes are needed; records them.
local function record_pipes(r, parent, spec)
  local pipes = {}
  if is_text(spec.stdin) then pipes.stdin = record_pipe(r, parent, 1) end
  if spec.stdout == nil then pipes.stdout = record_pipe(r, parent, 0) end
  if spec.stderr == nil then pipes.stderr = record_pipe(r, parent, 0) end
  return pipes
end

--- What the child execs: its own ends of the pipes, found in memory. `spec` is this run's own (passing.resolve).
local function spec_of_child(spec, pipes)
  if not next(pipes) then
    spec.stdin = spec.stdin or "null"
    return spec
  end
  local own = {}
  for key, value in pairs(spec) do own[key] = value end
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if pipes[name] then
      own[name] = requests.load32(pipes[name].at + 4 * pipes[name].theirs)
    elseif type(spec[name]) == "table" then
      own[name] = spec[name].number
    end
  end
  if not is_text(spec.stdin) and spec.stdin == nil then own.stdin = "null" end
  return own
end

--- After the clone: the parent gives up the program's ends, and takes its own.
local function record_ends(r, parent, pipes)
  for _, pipe in pairs(pipes) do
    r:call("close", { always = true, may_fail = true, later = r.is_later }, requests.load32(pipe.at + 4 * pipe.theirs))
    r.last = nil
    take_end(r, parent, pipe)
    r.last = nil
  end
end

local function record_after(birth, pipes)
  local r = requests.record(birth.parent)
  record_ends(r, birth.parent, pipes)
  if r.count > 0 then r:submit() end
  return r
end

--- Gives up the parent's ends, all at once.
local function drop(parent, pipes)
  local ends = {}
  for _, pipe in pairs(pipes) do
    pipe.space:free(pipe.at, 8)
    if pipe.channel then pipe.channel:close() end
    if pipe.fd and not pipe.fd.state.closed then ends[#ends + 1] = pipe.fd end
  end
  if #ends == 0 then return end
  if parent:is_alive() then
    parent:chain(function(c)
      for _, fd in ipairs(ends) do c:close(fd) end
    end)
  else
    for _, fd in ipairs(ends) do fd:close() end
  end
end

local function collect(child, spec, pipes)
  local result = { stdout = "", stderr = "" }
  if not next(pipes) then
    result.status = child:wait()
    return setmetatable(result, Result)
  end
  nursery.nursery(function(n)
    n:defer(drop, child.parent, pipes) -- child: of either kind
    if pipes.stdin then n:spawn(write_end, pipes.stdin, spec.stdin) end
    for _, name in ipairs { "stdout", "stderr" } do
      if pipes[name] then
        n:spawn(function() result[name] = read_end(pipes[name]) end)
      end
    end
    result.status = child:wait()
  end)
  return setmetatable(result, Result)
end

--- Its program is ended: asked, then forced. With `tree`: forced at once, with all that it has started.
local function end_child(child, tree)
  if child.status then return end
  if tree and pcall(child.kill_tree, child) then return end
  child:kill "SIGTERM"
  local ended = pcall(nursery.timeout, 2, child.wait, child)
  if not ended then
    child:kill "SIGKILL"
    child:wait()
  end
end

--- When the run is cut short.
local function stop(child, tree)
  if not child.cut_short then return end_child(child, tree) end
  child:cut_short(function(kid) end_child(kid, tree) end)
end

--- Waits for the parent's ends of the pipes.
local function adopt_all(after, parent, pipes)
  if after.count == 0 then return after:release() end
  after:wait()
  for _, pipe in pairs(pipes) do adopt(after, parent, pipe) end
  after:check()
  after:release()
end

--- It could not be started: nothing of it stays.
local function undo(parent, child, born, running, pipes)
  nursery.shielded(function()
    if born and running then pcall(stop, child.child) end
    if born and not running then pcall(child.exit, child, 127) end
    drop(parent, pipes)
  end)
end

--- Starts it as a child with a carrier, which is told to exec.
local function start_child(parent, spec)
  local pipes
  local birth = clone.begin(parent, 0, function(r) pipes = record_pipes(r, parent, spec) end, true)
  local child = birth.child
  local born, err
  if spec.listen_fds then born, err = pcall(birth.finish, birth) end -- the program's environment has its pid
  local running, exec_chain = pcall(exec.begin, child, spec_of_child(spec, pipes), true)
  local after = record_after(birth, pipes)
  if born == nil then born, err = pcall(birth.finish, birth) end
  local adopted, why = pcall(adopt_all, after, parent, pipes)
  local failure = exec_chain
  if running then running, failure = pcall(exec.finish, child, exec_chain) end
  if born and adopted and running then
    child.child.argv, child.child.private = spec, true
    return child.child, pipes
  end
  undo(parent, child, born, running, pipes)
  error(not born and err or not running and failure or why, 0)
end

--- Waits until it was cloned, and for the parent's ends of the pipes.
local function await_birth(parent, program, pipes)
  local ok, err = pcall(program.born, program)
  if ok then return end
  nursery.shielded(function()
    pcall(stop, program)
    drop(parent, pipes)
  end)
  error(err, 0)
end

--- Starts it: the clone, the exec and the pipes leave in one go.
---@return afar.Program|afar.Child
---@return table pipes
local function start(parent, spec)
  if not programs.possible(parent, spec) then return start_child(parent, spec) end
  local r = requests.record(parent)
  r.is_later = programs.has_room(parent) and parent.is_root -- its ends are channels, which can be used at once
  local pipes = r:by(record_pipes, parent, spec)
  local ends = {
    awaited = not r.is_later and next(pipes) ~= nil,
    record = function() record_ends(r, parent, pipes) end,
    adopt = function()
      for _, pipe in pairs(pipes) do adopt(r, parent, pipe) end
    end,
  }
  local ok, program = pcall(programs.begin, r, spec_of_child(spec, pipes), ends)
  if not ok or not program then
    drop(parent, pipes)
    r:drop()
    if ok then return start_child(parent, spec) end
    error(program, 0)
  end
  if program.waiting ~= r then await_birth(parent, program, pipes) end
  return program, pipes
end

local LINES_SHOWN, BYTES_SHOWN = 5, 500

--- The last that a program said, for its error: some lines, or a part of the last.
local function last_lines(text)
  text = text:gsub("%s+$", "")
  local from, lines = #text + 1, 0
  while from > 1 and lines < LINES_SHOWN do
    local begin = text:sub(1, from - 2):match ".*\n()" or 1
    if #text - begin >= BYTES_SHOWN then break end
    from, lines = begin, lines + 1
  end
  if from > #text then from = math.max(1, #text - BYTES_SHOWN + 1) end
  return from > 1 and "... " .. text:sub(from) or text
end

local function raise(parent, spec, result)
  local said = last_lines(result.stderr)
  local err = errors.new(
    parent, "run", { n = 1, table.concat(spec, " ") }, tostring(result.status) .. (said ~= "" and "; it said: " .. said or ""),
    { name = "status", status = result.status, stdout = result.stdout, stderr = result.stderr }
  )
  error(err, 0)
end

local function run_once(self, spec)
  local child, pipes = gate.pass(self, start, self, spec)
  local ok, result = pcall(collect, child, spec, pipes)
  if ok then return result end
  nursery.shielded(stop, child, spec.tree) -- what is told is why it was cut short
  error(result, 0)
end

local function run_to_end(self, spec)
  local ok, result = pcall(run_once, self, spec)
  if ok then return result end
  if clone.turn_plain(self, result) then return run_once(self, spec) end
  error(result, 0)
end

--- The same, for as long as it may take.
local function run_in_time(self, spec)
  if type(spec.timeout) ~= "number" then error(("run: timeout is a number of seconds, not %s"):format(type(spec.timeout)), 0) end
  local ok, result = pcall(nursery.timeout, spec.timeout, run_to_end, self, spec)
  if ok then return result end
  if not (nursery.is_cancelled(result) and result.timeout) then error(result, 0) end
  local message = ("not done within %g s, and ended"):format(spec.timeout)
  error(errors.new(self, "run", { n = 1, table.concat(spec, " ") }, message, { name = "timeout", timeout = true }), 0)
end

--- p:run{ "program", "argument", ... }: runs it in a fork of the process, to its end. Options as of p:exec, and: stdin = a string that it reads
--- (default: nothing); stdout, stderr = an fd or "null" instead of being collected; check = false: a failure raises nothing; timeout =
--- seconds, then it is ended (SIGTERM, after 2 s SIGKILL), and an error with .timeout raised; tree = true: when it is cut short, all that it has
--- started ends with it, by SIGKILL.
--- Raises an error with .status, .stdout and .stderr when it ends with anything but exit code 0.
---@param spec table
---@return afar.Result
process.define("run", function(self, spec)
  command.check(self, "run", spec)
  spec = passing.resolve(self, spec)
  sched.check()
  local ok, result = pcall(spec.timeout and run_in_time or run_to_end, self, spec)
  if not ok then
    if errors.is(result) and result.sent ~= nil then result.call, result.args = "run", { n = 1, table.concat(spec, " ") } end
    error(result, 0)
  end
  if spec.check ~= false and not result.status.ok then raise(self, spec, result) end
  return result
end)
