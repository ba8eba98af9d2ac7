--- bootstrap: any command whose stdin and stdout reach a shell, or the stub itself, at the far end gives a root there.

local attach = require "afar.attach"
local requests = require "afar.requests"
local command = require "afar.command"
local errors = require "afar.error"
local fds = require "afar.fd"
local handover = require "afar.handover"
local machine = require "afar.machine"
local nursery = require "afar.nursery"
local process = require "afar.process"
local pump = require "afar.pump"
local sched = require "afar.sched"
local patience = require "afar.bootstrap.patience"
local script = require "afar.bootstrap.script"
local spawn = require "afar.spawn"
local stdio = require "afar.stdio"
local streams = require "afar.stream"
local answered_tty = require "afar.answered_tty"

local bootstrap = {
  MARKER = "@AFAR-MARKER@", -- stands for the marker in a command by which the stub itself is started
  SCRIPT = "@AFAR-SCRIPT@", -- stands for a shell command that becomes the root, in a command that can pass one on
}

local STDERR_KEPT = 64 * 1024
local GRACE = 2 -- seconds
local SILENT = 0.3 -- the same where nothing has come from the far side: what still connects doesn't see the end of its stream
local CLEANUP = 30 -- seconds
local LAST_WORDS = 0.2 -- seconds
local ASKED_MOST = 100 -- times that the far side may ask for its stub: once a directory, and way to execute it there
local IGNORED = { "SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM" } -- Ctrl-C must not cut the way to the far side before the cleanups have run

-- ---- the command ----

--- `word` with what stands for `what` in it replaced by `text`; nil: it isn't in there.
local function put(word, what, text)
  local from, to = word:find(what, 1, true)
  return from and word:sub(1, from - 1) .. text .. word:sub(to + 1)
end

--- The command with its words filled in; and whether the far side must be told on its stdin.
local function fill(spec, marker, stubs)
  local filled, tell = {}, true
  for key, value in pairs(spec) do filled[key] = value end
  for i, word in ipairs(spec) do
    local with = put(word, bootstrap.MARKER, marker)
    if not with and word:find(bootstrap.SCRIPT, 1, true) then
      with = put(word, bootstrap.SCRIPT, script.command { marker = marker, stubs = stubs })
    end
    if with then
      filled[i], tell = with, false
    end
  end
  filled.ignore = IGNORED
  return filled, tell
end

--- The stream to the command's stdin and stdout, and their end in `p`. On this machine the host has the other end itself.
local function connect(p, marker)
  if p.is_root and p.machine.local_ then
    local mine, other = spawn.socketpair()
    if not mine then error(errors.new(p, "bootstrap", nil, other), 0) end
    local stream = streams.open(mine, mine, marker)
    local number = sched.wait(p.machine.stream:send_fd(other))
    if not number or number < 0 then error(errors.lost(p, "bootstrap", nil, "lost"), 0) end
    return stream, fds.new(p, number, "socket")
  end
  local mine, other = p:socketpair()
  return streams.over(attach.channel(p, mine, "rw"), marker), other
end

--- Starts the command: its child, the stream, and the channel of its stderr. `tty`: a terminal that it shall have.
local function launch(p, spec, marker, tty, gently)
  local stream, theirs = connect(p, marker)
  local child, stderr
  local ok, running = pcall(function()
    local err_read, err_write = p:pipe2()
    child = p:fork()
    spec.stdin, spec.stdout = child:inherit(theirs), child:inherit(theirs)
    spec.stderr = child:inherit(err_write)
    theirs:close()
    err_write:close()
    stderr = attach.channel(p, err_read, "r")
    if tty then tty:enter(child) end
    if gently then child:prctl("PR_SET_PDEATHSIG", 0) end
    return child:exec(spec)
  end)
  if ok then return running, stream, stderr end
  if child then nursery.shielded(child.exit, child, 127) end
  stream:close()
  if stderr then stderr:close() end
  error(running, 0)
end

-- ---- what it says on stderr ----

--- What it wants to know isn't told.
local function give_up(self, why)
  self.gave_up = why
  if self.stream then self.stream:close() end
end

--- A question among it is answered, on stdin. When there is no answer, it is ended, and that is why.
local function answer_question(self)
  local from, to = self.said:find(self.question.prompt, 1, true)
  if not from then return end
  self.said, self.asked = self.said:sub(1, from - 1) .. self.said:sub(to + 1), self.asked + 1
  local ok, word = pcall(self.limit.exempt, self.limit, self.question.answer)
  if ok then return self.stream:raw(word .. "\n") end
  give_up(self, word)
end

--- Keeps the last of it; once there is a machine it is shown as that machine's.
local function listen(self)
  return sched.start(function()
    while true do
      local data = pump.read(self.stderr)
      if data == "" then break end
      if self.machine then
        spawn.write(2, data)
      else
        self.said = (self.said .. data):sub(-STDERR_KEPT)
        if self.question then answer_question(self) end
      end
    end
    self.stderr:close()
  end)
end

local function ends(child, seconds)
  if child.status or not child.parent:is_alive() then return true end
  return (pcall(nursery.timeout, seconds, child.wait, child))
end

--- Asks it to clean up: by the end of its stream, once a root was up, which ends by that too; before, only a signal tells it.
local function ask_to_end(self)
  if self.machine and ends(self.child, CLEANUP) then return end
  self.child:kill "SIGTERM"
end

--- What stays on the far side doesn't hold the connection to it.
local function leave_child(self)
  local child = self.child
  if not child.status and child.parent:is_alive() then
    if handover.spares(self.machine, child) then child:kill "SIGKILL" end
    sched.start(pcall, child.wait, child) -- it may be what stays
  end
  sched.cancel(self.listener, nursery.cancelled "the connection has ended")
  self.stderr:close()
  if self.terminal then self.terminal:close() end
end

--- Whether nothing has come from the far side.
local function is_silent(self)
  return not self.machine and self.answered == 0 and self.stream:state() ~= "hello" and self.stream:noise() == ""
end

--- Ends it: gently, then not.
local function end_child(self)
  local silent = not self.gently and is_silent(self)
  self.stream:close()
  local child = self.child
  if self.machine and self.machine.outlived then return leave_child(self) end
  if self.gently and not child.status and child.parent:is_alive() then ask_to_end(self) end
  if not ends(child, silent and SILENT or GRACE) then
    child:kill "SIGKILL"
    child:wait()
  end
  -- Its last words; not those of whom it has left behind, who may hold its stderr open for ever.
  pcall(nursery.timeout, LAST_WORDS, sched.join, self.listener)
  self.stderr:close()
  if self.terminal then self.terminal:close() end
end

-- ---- the conversation before there is a root ----

local PROBLEMS = {
  greedy = function() return ("the far side has asked for its stub more than %d times"):format(ASKED_MOST) end,
  machine = function(details)
    return ("the far machine's architecture is %s, for which there is no stub"):format(details), "x86_64 and aarch64 are known"
  end,
  noexec = function(details)
    if details == "" then details = "none of the usual ones can be written to" end
    return ("the far machine has no place to write a program and execute it (tried: %s)"):format(details),
      "a writable directory without noexec, or $XDG_RUNTIME_DIR set to one"
  end,
}

local function raise_problem(self, what, details)
  local explain = PROBLEMS[what]
  local message, hint = ("the far side said %q"):format(what .. " " .. details), nil
  if explain then message, hint = explain(details) end
  error(errors.new(self.p, self.call, { self.name }, message, { name = what, hint = hint }), 0)
end

--- Answers what the far side's script asks; each of its messages once.
local function answer(self)
  local noise, dropped = self.stream:noise()
  while true do
    local kind, _, rest, what, details = script.scan(noise:sub(math.max(self.answered - dropped, 0) + 1), self.marker)
    if kind ~= "send" and kind ~= "error" then return end
    self.answered = math.max(self.answered, dropped) + rest - 1
    if kind == "error" then raise_problem(self, what, details) end
    local stub = require("afar.stubs")[what]
    if not stub then raise_problem(self, "machine", what) end
    self.asked = self.asked + 1
    if self.asked > ASKED_MOST then raise_problem(self, "greedy", "") end
    self.stream:raw(details == "base64" and script.base64_lines(require("afar.packed")[what]) or script.stub_lines(stub))
  end
end

local function converse(self)
  local stream = self.stream
  while stream:state() == "noise" do
    answer(self)
    if stream:state() == "noise" then sched.wait(stream:wait_noise(), function() return true end) end
  end
  if stream:state() == "hello" then sched.wait(stream:wait_open(), function() return true end) end
  if stream:state() == "ended" then answer(self) end -- its last message may have come with its end
  return stream:state() == "open"
end

local function reason_of(status, said, stream)
  local _, _, reason = stream:state()
  if reason then return "the far side does not speak this version's protocol: " .. reason end
  local last = said:gsub("%s+$", ""):match "[^\n]*$"
  if last ~= "" then return ("no root came up: %s (%s)"):format(last, tostring(status)) end
  return ("no root came up: the command ended with %s"):format(tostring(status))
end

--- The connection ended before there was a root: says why, with what the command said.
local function fail(self)
  local noise = self.stream:noise()
  end_child(self)
  if self.gave_up then error(self.gave_up, 0) end
  local status = self.child.status
  local what, message, hint
  local _, _, reason = self.stream:state()
  if self.explain and not reason then what, message, hint = self.explain(status and status.code, self.said, noise) end
  if not message then message = reason_of(status, self.said, self.stream) end
  local fields = { name = what or "bootstrap", hint = hint, status = status, stderr = self.said, noise = noise }
  error(errors.new(self.p, self.call, { self.name }, message, fields), 0)
end

--- A command that has ended while another still holds its end of the stream brings no root: that is seen by its end alone. Not
--- looked at before some time has passed: most are up by then.
local function watch_child(self)
  self.timer = sched.after(GRACE, function()
    self.watcher = sched.start(function()
      self.child:wait()
      sched.sleep(GRACE)
      if self.stream:state() ~= "open" then self.stream:close() end
    end)
  end)
end

local function unwatch_child(self)
  self.timer.f = nil
  if self.watcher then sched.cancel(self.watcher, nursery.cancelled "the root is up") end
end

local function begin(p, call, spec, opts)
  local marker, seconds = spawn.random(16), patience.check(p, call, opts.timeout)
  local filled, tell = fill(spec, marker, opts.brief and {} or require "afar.packed")
  local self = {
    p = p, call = call, name = opts.name or table.concat(spec, " "), marker = marker, said = "", answered = 0, asked = 0, explain = opts.explain,
    question = opts.question, gently = opts.gently,
  }
  local function expire(why) give_up(self, why) end
  self.limit = patience.new(self, seconds, expire)
  if opts.terminal then
    local function answer_it(question)
      self.asked = self.asked + 1
      return self.limit:exempt(opts.terminal, question)
    end
    self.terminal = answered_tty.new(p, answer_it, expire)
  end
  local ok, child, stream, stderr = pcall(launch, p, filled, marker, self.terminal, opts.gently)
  if not ok then
    self.limit:stop()
    if self.terminal then self.terminal:close() end
    error(child, 0)
  end
  if self.gave_up then stream:close() end
  self.child, self.stream, self.stderr = child, stream, stderr
  self.child.argv = spec -- without the stubs in it
  self.listener = listen(self)
  if tell then self.stream:raw(script.interactive { marker = marker }) end
  return self
end

--- What is executed there is not to ignore what the command on the way was told to.
local function heed_signals(root)
  local r = requests.record(root)
  local default = r:bytes(("\0"):rep(32))
  for _, name in ipairs(IGNORED) do
    r:call("rt_sigaction", nil, root.machine.sys.C[name], default, 0, 8)
  end
  r:submit()
  sched.start(r.wait, r)
end

---@class afar.BootstrapOptions
---@field name? string     how errors call the machine
---@field explain? fun(code: integer?, stderr: string, noise: string): string?, string?, string?  why it failed: what, message, hint
---@field brief? boolean   the command shall be short, since it is logged, or part of a URL: the far side asks for its stub
---@field terminal? fun(question: string): string  answers what the command asks on a terminal, of which it gets one of its own
---@field environ? table<string, string|false>  the root's environment where the command needed another
---@field timeout? number|false  seconds, without those in which somebody is asked (see patience.seconds); false: any time
---@field gently? boolean  the command has to clean up: it is not killed when we end; it sees the end of its stream
---   (or, before a root was up, gets SIGTERM)
---@field question? { prompt: string, answer: fun(): string }  what the command asks on stderr; the answer is a line on its stdin

--- Runs a command in `p` and gives the root that comes up at its far end.
---@param p afar.Process
---@param call string     for errors: "bootstrap", "ssh"
---@param spec table      as of p:exec
---@param opts afar.BootstrapOptions
---@return afar.Process
function bootstrap.start(p, call, spec, opts)
  sched.check()
  local self = begin(p, call, spec, opts)
  watch_child(self)
  local ok, up = pcall(converse, self)
  unwatch_child(self)
  self.limit:stop()
  if not ok then
    end_child(self)
    error(up, 0)
  end
  if not up then fail(self) end
  local known, made = pcall(machine.new, self.stream, opts.name, { via = self.child, asked = self.asked, finish = function() end_child(self) end })
  if not known then
    end_child(self)
    error(made, 0)
  end
  self.machine = made
  heed_signals(made.root)
  for variable, value in pairs(opts.environ or {}) do made.root.environ[variable] = value or nil end
  stdio.lay(made)
  return made.root
end

--- p:bootstrap{ "any", "command" }: runs the command in this process, and gives the root that comes up at its far end: stdin and stdout of
--- the command must reach a shell there, which is told what to do. Where a word of the command is afar.SCRIPT it stands for a shell command
--- that does it ({ "ssh", "host", afar.SCRIPT }), which saves a round trip; where afar.MARKER is in one the command starts the stub itself
--- ({ "qemu-aarch64", "stub", afar.MARKER, "0", "1" }), or a machine of which it is the init. Options as of p:exec, name = how errors call
--- the machine, and timeout = the seconds within which the root must be up (120; false: any time).
---@param spec table
---@return afar.Process
process.define("bootstrap", function(self, spec)
  local opts, plain = {}, {}
  for key, value in pairs(type(spec) == "table" and spec or {}) do
    local into = (key == "name" or key == "timeout") and opts or plain
    into[key] = value
  end
  command.check(self, "bootstrap", type(spec) == "table" and plain or spec)
  return bootstrap.start(self, "bootstrap", plain, opts)
end)

--- root:disconnect(): ends the connection; all that runs below this root ends with it.
process.define("disconnect", function(self)
  if rawget(self, "session") then
    require("afar.session").leave(self)
    return handover.close(self)
  end
  local made = self.machine
  if not self.is_root then error(errors.new(self, "disconnect", {}, "only a root can be disconnected"), 0) end
  if made.local_ then error(errors.new(self, "disconnect", {}, "this machine's root ends with the program"), 0) end
  stdio.drain(made)
  made:close()
end)

return bootstrap
