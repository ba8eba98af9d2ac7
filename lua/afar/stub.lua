--- Stubs: programs whose every call this script answers. p:stub(dir, "sendmail") puts an executable there; whoever runs it becomes a root of
--- ours, with the arguments, environment, fds and directory that its caller gave it, and does what the script decides.

local address = require "afar.address"
local attach = require "afar.attach"
local requests = require "afar.requests"
local command = require "afar.command"
local errors = require "afar.error"
local exec = require "afar.exec"
local exit = require "afar.exit"
local loadmode = require "afar.mode"
local loop = require "afar.loop"
local machine = require "afar.machine"
local nursery = require "afar.nursery"
local passing = require "afar.passing"
local process = require "afar.process"
local sched = require "afar.sched"
local spawn = require "afar.spawn"
local streams = require "afar.stream"

local SIGN = "afar-callback:1\0" -- struct afar_callback of stub/protocol.h
local MARKER_SIZE, PATH_SIZE = 32, 108
local FAILED = 127
local PATIENCE = 10 -- seconds within which a caller has said what it is
local HEARD_MOST = 64 -- before the script takes one

local function bad(p, message, fields) error(errors.new(p, "stub", nil, message, fields), 0) end

-- ---- a call ----

---@class afar.StubCall
---@field argv string[]      argv[1] is the name under which it was called
---@field environ table<string, string>
---@field cwd string         its working directory
---@field process afar.Process  the called program itself, as a root: its fds 0, 1, 2 are those that the caller gave it
---@field pid integer        as the program sees itself
---@field ppid integer       its caller
---@field uid integer       as the stub's process sees it, from the kernel: nobody calls as somebody else
---@field stdin afar.Fd
---@field stdout afar.Fd
---@field stderr afar.Fd
---@field sigmask string     the signals that it was started with blocked, as rt_sigprocmask(2) has them
local Call = { __name = "call of a stub" }
Call.__index = Call

function Call:__tostring() return ("call of %s by process %d"):format(table.concat(self.argv, " "), self.ppid) end

--- What the caller says of itself; `uid`: what the kernel says.
local function new_call(stream, name, uid)
  local made = machine.new(stream, name)
  local root, hello = made.root, made.hello
  made.name = ("%s (%d)"):format(name, hello.pid)
  local self = setmetatable({
    argv = hello.argv, environ = root.environ, process = root, pid = hello.pid, ppid = hello.ppid, uid = uid,
    sigmask = hello.sigmask, made = made,
  }, Call)
  self.cwd = root:getcwd()
  for _, standard in ipairs { "stdin", "stdout", "stderr" } do self[standard] = root:standard(standard) end
  return self
end

function Call:is_alive() return self.process:is_alive() end

--- The program ends with that exit code, which its caller gets.
---@param code? integer 0..255
function Call:exit(code)
  if type(code or 0) ~= "number" then bad(self.process, ("exit: a number was expected, not %s"):format(type(code))) end
  local r = requests.record(self.process)
  r.args = { n = 1, code or 0 }
  r:call("exit_group", { flush = true }, code or 0)
  r:start()
  r:wait()
  self.made:close()
end

--- The program writes these, and ends: { stdout = "...", stderr = "...", code = 0 }.
---@param what { stdout?: string, stderr?: string, code?: integer }
function Call:answer(what)
  for _, name in ipairs { "stdout", "stderr" } do
    if what[name] and what[name] ~= "" then self[name]:write(what[name]) end
  end
  self:exit(what.code)
end

--- The program becomes another: { "program", "argument", ... }, with options as of p:exec; it keeps its pid, so that its caller waits for that. The
--- call is used up.
---@param spec table
function Call:exec(spec)
  local p = self.process
  command.check(p, "exec", spec)
  spec = passing.resolve(p, spec)
  sched.check()
  local r = exec.begin(p, spec)
  local fate = exec.wait(r)
  if not fate then exec.failed(p, r) end
  self.made:close()
end

-- ---- the stub ----

---@class afar.Stub
---@field path string  of the executable
local Stub = { __name = "stub" }
Stub.__index = Stub

function Stub:__tostring() return ("stub %s of %s"):format(self.path, tostring(self.process)) end

--- The image for one place.
local function image_for(p, marker, socket)
  local image = require("afar.stubs")[p.machine.sys.name]
  local from, to = (image or ""):find(SIGN, 1, true)
  if not from then bad(p, ("there is no stub for %s"):format(p.machine.sys.name)) end
  local filled = marker .. socket .. ("\0"):rep(PATH_SIZE - #socket)
  return image:sub(1, to) .. filled .. image:sub(to + MARKER_SIZE + PATH_SIZE + 1)
end

local function check(p, dir, name, options)
  if type(dir) ~= "string" or dir == "" then bad(p, ("the directory is a string, not %s"):format(type(dir))) end
  if type(name) ~= "string" or not name:find "^[^/%z]+$" or name == "." or name == ".." then
    bad(p, ("the program's name is one name of a file, not %s"):format(type(name) == "string" and ("%q"):format(name) or type(name)))
  end
  for key in pairs(options) do
    if key ~= "mode" then bad(p, ("there is no option %q; mode is"):format(tostring(key))) end
  end
end

--- Who may execute the program may connect.
local function socket_mode(mode)
  local allowed = 0
  for _, bits in ipairs { 64, 8, 1 } do
    if mode % (2 * bits) >= bits then allowed = allowed + 6 * bits end
  end
  return allowed
end

local function listen(p, path, mode)
  local listener = p:socket("AF_UNIX", "SOCK_STREAM")
  local ok, err = pcall(function()
    listener:bind(address.of { family = "AF_UNIX", path = path })
    p:chmod(path, mode)
    listener:listen(128)
  end)
  if ok then return listener end
  listener:close()
  error(err, 0)
end

local function remove(self)
  if not self.process:is_alive() then return end
  self.listener:close()
  for _, path in ipairs { self.path, self.socket } do
    local ok, err = nursery.try(self.process.unlink, self.process, path)
    if not ok and err and not errors.is(err, "ENOENT") then error(err, 0) end
  end
end

-- ---- callers ----
-- Whoever may run the program may also connect and say nothing, or nonsense: each is heard by itself, so that no other waits for it.

--- Those who wait in accept() look again.
local function wake(self)
  local waiting = self.waiting
  self.waiting = {}
  for _, id in ipairs(waiting) do loop.complete(id) end
end

local function hear(self, fd)
  local uid = fd:getsockopt("SO_PEERCRED").uid
  local stream = streams.over(attach.channel(self.process, fd, "rw"), self.marker)
  local ok, call = pcall(nursery.timeout, PATIENCE, function()
    sched.wait(stream:wait_open(), function() return true end)
    return stream:state() == "open" and new_call(stream, self.name, uid)
  end)
  if ok and call and not self.closed then
    self.ready[#self.ready + 1] = call
  else
    stream:close() -- it was killed before it could say what it wants, or is no call
  end
end

local function meet(self, fd)
  self.hearing = self.hearing + 1
  pcall(hear, self, fd)
  self.hearing = self.hearing - 1
  wake(self)
end

--- Waits for what the acceptor, or one who is heard, has to tell.
local function pause(self)
  local id = loop.id()
  self.waiting[#self.waiting + 1] = id
  sched.wait(id, function() return true end)
end

local function take_callers(self)
  while not self.closed do
    if self.hearing + #self.ready >= HEARD_MOST then
      pause(self)
    else
      local ok, fd = pcall(self.listener.accept4, self.listener)
      if not ok then
        self.failed = fd
        break
      end
      sched.start(meet, self, fd)
    end
  end
  self.accepting = false
  wake(self)
end

--- Takes the program away again. Who calls it at this moment is told that nobody answers.
function Stub:close()
  if self.closed then return end
  self.closed = true
  exit.remove(self.at_exit)
  for _, call in ipairs(self.ready) do call.made:close() end
  wake(self)
  remove(self)
end

--- Waits until somebody runs the program. nil: the stub was closed.
---@return afar.StubCall?
function Stub:accept()
  while not self.closed do
    if self.ready[1] then
      wake(self)
      return table.remove(self.ready, 1)
    end
    if self.failed then
      local err = self.failed
      self.failed = nil
      error(err, 0)
    end
    if not self.accepting then
      self.accepting = true
      sched.start(take_callers, self)
    end
    pause(self)
  end
end

--- What the script decides for one call. Its mistake is told to the caller too.
local function answer(call, f)
  local ok, result = pcall(f, call)
  if ok then
    if call:is_alive() then call:exit(type(result) == "number" and result or 0) end
    return
  end
  if not call:is_alive() and errors.is(result) then return end -- the caller has ended it
  if call:is_alive() then
    local text = ("%s: the script that stands behind this program has failed\n"):format(call.argv[1] or "afar")
    pcall(call.answer, call, { stderr = text, code = FAILED })
  end
  error(result, 0)
end

--- Answers all calls, several at once, each by f(call): it may answer, exit or exec; if it does none of these, the program ends with the
--- number that f returns, or 0. Returns when the stub is closed; an error of f is raised here.
---@param f fun(call: afar.StubCall): integer?
function Stub:serve(f)
  nursery.nursery(function(n)
    while true do
      local call = self:accept()
      if not call then return end
      n:spawn(answer, call, f)
    end
  end)
end

--- p:stub(dir, name, options): puts the program `name` into the directory; whoever runs it is answered by this script, through
--- stub:accept() or stub:serve(f). While nobody accepts, callers wait; when the script has gone they are told so, and get exit code 127.
--- options: mode = who may run it (default "0700": this process's user). It is taken away by stub:close(), or at the program's end.
---@param dir string
---@param name string
---@param options? { mode: string|integer }
---@return afar.Stub
process.define("stub", function(self, dir, name, options)
  options = options or {}
  check(self, dir, name, options)
  local mode = loadmode(options.mode or "0700", "stub")
  if dir:sub(1, 1) ~= "/" then dir = self:getcwd() .. "/" .. dir end
  local socket = ("%s/.afar-%s-%s"):format(dir, name:sub(1, 12), spawn.random(4))
  if #socket >= PATH_SIZE then bad(self, ("the directory's path is too long: its socket's has %d bytes, 107 are the most"):format(#socket)) end
  local marker = spawn.random(16)
  local image = image_for(self, marker, socket)
  local stub = setmetatable({
    process = self, path = dir .. "/" .. name, socket = socket, marker = marker, name = name, ready = {}, waiting = {}, hearing = 0,
  }, Stub)
  stub.listener = listen(self, socket, socket_mode(mode))
  stub.at_exit = function() stub:close() end
  exit.add(stub.at_exit)
  local ok, err = pcall(self.write_file, self, stub.path, image, { mode = mode })
  if ok then return stub end
  stub:close()
  error(err, 0)
end)

return { Stub = Stub, Call = Call }
