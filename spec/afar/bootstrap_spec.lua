-- A root at the far end of any command.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"

local here = afar.here

local fails = require("spec.support.raised").err

--- Runs `f(root)` with the root that a command gives, which is left afterwards.
local function with(spec, f, p)
  local root = (p or here):bootstrap(spec)
  local ok, err = pcall(f, root)
  root:disconnect()
  if not ok then error(err, 0) end
end

local function works(root)
  probe.works(root)
  assert.equal("x\n", root:run({ "echo", "x" }).stdout)
end

describe("a bootstrap", function()
  it("is told to a shell on its stdin", function()
    for _, shell in ipairs { { "sh" }, { "bash" }, { "dash" }, { "busybox", "sh" }, { "zsh" }, { "env", "X=y", "sh" } } do
      with(shell, works)
    end
  end)

  it("makes the pipes between which it comes up hold more", function()
    with({ "sh", "-c", "cat | " .. afar.SCRIPT .. " | cat" }, function(root)
      works(root)
      local hello, command = root.machine.hello, root.machine.sys.C.F_GETPIPE_SZ
      assert.equal(256 * 1024, root:syscall("fcntl", hello.in_fd, command, 0))
      assert.equal(256 * 1024, root:syscall("fcntl", hello.out_fd, command, 0))
    end)
  end)

  it("is part of the command where that says so", function()
    with({ "sh", "-c", afar.SCRIPT }, works)
    with({ "sh", "-c", "echo noise; " .. afar.SCRIPT .. "; echo never" }, works)
    for _, shell in ipairs { "bash", "dash", "zsh", "fish", "tcsh" } do
      with({ shell, "-c", afar.SCRIPT }, works)
    end
  end)

  it("may be the stub itself", function()
    with({ "build/stub-" .. here.machine.sys.name, afar.MARKER, "0", "1" }, works)
  end)

  it("may be the stub itself on a terminal, which echoes and changes what passes, until the stub tells it not to", function()
    local stub = ("EXEC:build/stub-%s %s 0 1,pty,setsid,ctty"):format(here.machine.sys.name, afar.MARKER)
    with({ "sh", "-c", 'exec socat - "$0" 2>/dev/null', stub }, function(root)
      works(root)
      local all = {}
      for i = 0, 255 do all[i + 1] = string.char(i) end
      all = table.concat(all):rep(100)
      for _ = 1, 20 do assert.equal(all, root:run({ "cat", stdin = all }).stdout) end
      -- Both ways full at once: socat reads nothing as long as it can't write.
      afar.timeout(100, afar.nursery, function(n)
        for _ = 1, 100 do
          n:spawn(function()
            local memory = root:ptr(all)
            assert.equal(all, memory:read())
          end)
        end
      end)
      -- In its own open file: who is blocked there may never be woken.
      local C = root.machine.sys.C
      assert.is_true(root:syscall("fcntl", root.machine.hello.out_fd, C.F_GETFL, 0) % (2 * C.O_NONBLOCK) >= C.O_NONBLOCK)
    end)
  end)

  it("that has ended by itself leaves nothing, once nobody holds its root", function()
    local command
    coroutine.wrap(function()
      local root = here:bootstrap { "sh", "-c", afar.SCRIPT }
      command = root.machine.via.pid
      here:kill(root.pid, "SIGKILL")
      assert.is_true(probe.soon(function() return not root:is_alive() end))
    end)()
    assert.is_true(probe.soon(function()
      collectgarbage()
      return probe.status(command, "State") == nil
    end, 10))
  end)

  it("goes through any pair of pipes", function()
    with({ "sh", "-c", "cat 2>/dev/null | sh | cat" }, works)
    with({ "sh", "-c", "cat 2>/dev/null | busybox sh | cat" }, works)
  end)

  it("doesn't mind what is said before", function()
    with({ "sh", "-c", "echo Welcome; echo; printf 'no newline'; exec sh" }, works)
    with({ "sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo Welcome to this machine, for the $i. time; i=$((i + 1)); done; exec sh" }, works)
    with({ "sh", "-c", "head -c 300000 /dev/urandom; exec sh" }, works)
  end)

  it("works in any process, and in what it gave", function()
    local p = here:fork()
    with({ "sh" }, function(root)
      works(root)
      with({ "sh" }, works, root)
      local child = root:fork()
      with({ "sh", "-c", afar.SCRIPT }, works, child)
      child:exit()
    end, p)
    p:exit()
  end)

  it("has the environment, and what the command was given", function()
    with({ "sh", env = { SPEC_X = "y" }, cwd = "/usr" }, function(root)
      assert.equal("y", root.environ.SPEC_X)
      assert.equal("/usr", root:getcwd())
      assert.equal("y\n", root:run({ "sh", "-c", "echo $SPEC_X$AFAR_UNLINK" }).stdout)
    end)
  end)

  it("has a name, for errors", function()
    with({ "sh", name = "somewhere" }, function(root)
      assert.equal("somewhere", root.machine.name)
      assert.matches("in process %d+ on somewhere: No such file", tostring(fails(root.open, root, "/no/such")))
      local found
      for _, machine in ipairs(afar.machines()) do
        found = found or machine == root.machine
      end
      assert.is_true(found)
    end)
  end)

  it("has nothing for stdin, and no fds but its own", function()
    with({ "sh" }, function(root)
      assert.equal("", root:read(0))
      assert.equal("/dev/null", root:readlink "/proc/self/fd/0")
    end)
  end)

  it("has programs that heed signals, whatever the command on the way ignores", function()
    with({ "sh" }, function(root)
      local text = root:run({ "awk", "/Sig(Ign|Blk)/ { print $2 }", "/proc/self/status" }).stdout
      for mask in text:gmatch "%x+" do
        assert.equal(0, tonumber(mask:sub(-4), 16) % 8) -- HUP, INT, QUIT
        assert.equal(0, tonumber(mask:sub(-4), 16) % 0x8000 - tonumber(mask:sub(-4), 16) % 0x1000) -- PIPE, ALRM, TERM
      end
    end)
  end)

  it("leaves nothing running when it is left", function()
    local root = here:bootstrap { "sh", "-c", "sh; echo the shell ended" }
    local child = root:fork()
    local program = child:fork():exec { "sleep", "60" }
    local from = child:pipe2()
    local err
    afar.nursery(function(n)
      n:spawn(function() err = fails(from.read, from) end)
      probe.settle(child)
      root:disconnect()
    end)
    assert.is_true(err.sent)
    assert.is_false(root:is_alive())
    assert.is_false(child:is_alive())
    assert.is_false(fails(child.getpid, child).sent)
    assert.is_true(probe.soon(function() return not probe.runs(program.pid) end))
    assert.is_true(probe.soon(function() return not probe.runs(root.pid) end))
    root:disconnect()
  end)

  it("fails all at once when its command is killed", function()
    local root = here:bootstrap { "sh" }
    local child, errs = root:fork(), {}
    local from = child:pipe2()
    local other = root:pipe2()
    local runs, to = root:pipe2()
    afar.nursery(function(n)
      n:spawn(function() errs[1] = fails(from.read, from) end)
      n:spawn(function() errs[2] = fails(other.read, other) end)
      n:spawn(function() errs[3] = fails(root.run, root, { "sh", "-c", "echo >&" .. to.number .. "; exec sleep 60", keep = { to } }) end)
      n:spawn(function() errs[4] = fails(child.child.wait, child.child) end)
      assert.equal("\n", runs:read()) -- else the run may be between two of its calls
      probe.settle(child)
      probe.settle(root)
      here:kill(root.pid, "SIGKILL")
    end)
    for i = 1, 4 do
      assert.is_true(errs[i].sent, i)
      assert.matches("it may have been performed$", tostring(errs[i]))
    end
    assert.is_false(fails(root.getpid, root).sent)
    assert.matches("the connection to .* had ended before; it was surely not performed", tostring(fails(child.getpid, child)))
    assert.is_true(probe.soon(function() return not probe.runs(child.pid) end))
    root:disconnect()
  end)

  it("that is given up while it still connects is ended soon", function()
    local began = afar.now()
    assert.is_true(fails(afar.timeout, 0.05, here.bootstrap, here, { "sleep", "60" }).timeout)
    assert.is_true(afar.now() - began < 50)
  end)

  it("can be given up", function()
    local before = probe.holds(here)
    for _, spec in ipairs { { "cat" }, { "sleep", "60" }, { "yes" }, { "sh", "-c", "exec sleep 60; exec sh" } } do
      local err = fails(afar.timeout, 0.1, here.bootstrap, here, spec)
      assert.is_true(err.timeout)
    end
    assert.same(before, probe.holds(here, before))
  end)
end)

describe("a bootstrap that fails", function()
  local before

  before_each(function() before = probe.holds(here) end)
  after_each(function() assert.same(before, probe.holds(here, before)) end)

  local function message(spec, p) return tostring(fails((p or here).bootstrap, p or here, spec)) end

  it("says how its command ended, and what it said last", function()
    local err = fails(here.bootstrap, here, { "sh", "-c", "echo first >&2; echo this is why >&2; exit 3" })
    assert.equal("bootstrap", err.call)
    assert.equal(3, err.status.code)
    assert.equal("first\nthis is why\n", err.stderr)
    assert.matches("no root came up: this is why %(exit code 3%)$", tostring(err))
    assert.matches("no root came up: the command ended with exit code 0$", message { "true" })
    assert.matches("killed by SIGKILL", message { "sh", "-c", "kill -9 $$" })
  end)

  it("says that there is no such command", function()
    assert.matches('no "no%-such%-program" in PATH', message { "no-such-program" })
  end)

  it("says what is wrong with what it is given", function()
    assert.matches('a table was expected: bootstrap{ "sh" }', message "sh", 1, true)
    assert.matches("the program's name is missing", message { name = "x" })
    assert.matches('no option "nme"', message { "sh", nme = "x" })
  end)

  it("says that the architecture is unknown", function()
    local dir = here:run({ "mktemp", "-d" }).stdout:gsub("\n", "")
    here:write_file(dir .. "/uname", "#!/bin/sh\necho mips\n", { mode = 493 })
    local text = message { "sh", "-c", afar.SCRIPT, env = { PATH = dir .. ":" .. here.environ.PATH } }
    here:run { "rm", "-r", dir }
    assert.matches("architecture is mips, for which there is no stub; x86_64 and aarch64 are known", text)
  end)

  it("says that there is no place to execute", function()
    local p = here:fork()
    local ok = pcall(p.syscall, p, "unshare", p.machine.sys.C.CLONE_NEWNS)
    if not ok then
      p:exit()
      pending "needs a mount namespace"
    end
    p:syscall("mount", "none", "/", 0, p.machine.sys.C.MS_REC + p.machine.sys.C.MS_PRIVATE, 0)
    for _, dir in ipairs { "/tmp", "/var/tmp", "/dev/shm" } do
      p:syscall("mount", "none", dir, "tmpfs", p.machine.sys.C.MS_NOEXEC, 0)
    end
    for _, spec in ipairs { { "sh", "-c", afar.SCRIPT }, { "sh" } } do
      spec.env, spec.cwd = { XDG_RUNTIME_DIR = "/tmp", HOME = "/tmp", TMPDIR = "/tmp" }, "/tmp"
      local text = message(spec, p)
      assert.matches("no place to write a program and execute it %(tried: /tmp /dev/shm", text)
    end
    p:exit()
  end)

  --- A far side that says a hello of ours, but for `changes`: { offset, size, value }...
  local function hello_with(...)
    local dir = here:run({ "mktemp", "-d" }).stdout:gsub("\n", "")
    local raw = ffi.new("uint8_t[?]", 512)
    local words = { { 0, 4, 0x52414641 }, { 4, 2, 1 }, { 8, 4, 440 }, { 24, 4, 62 }, { 200, 4, 65536 }, { 204, 4, 64 }, { 208, 4, 65536 }, ... }
    for _, word in ipairs(words) do
      local at, size, value = unpack(word)
      for i = 0, size - 1 do
        raw[at + i] = math.floor(value / 256 ^ i) % 256
      end
    end
    here:write_file(dir .. "/hello", ffi.string(raw, 440))
    local text = message { "sh", "-c", 'printf %s "$1"; cat "$2"; exec cat >/dev/null', "sh", afar.MARKER, dir .. "/hello" }
    here:run { "rm", "-r", dir }
    return text
  end

  it("says that the far side speaks another version", function()
    assert.matches("the far side does not speak this version's protocol: ", hello_with { 4, 2, 77 })
    assert.matches("the far side does not speak this version's protocol: ", hello_with { 8, 4, 8 })
    assert.matches("the far side does not speak this version's protocol: ", hello_with { 12, 4, 2 ^ 30 })
    assert.matches("the far side does not speak this version's protocol: ", hello_with { 204, 4, 0 })
  end)

  it("says that its stub is of an architecture that nobody knows", function()
    assert.matches("architecture", hello_with { 24, 4, 8 })
  end)

  it("is over when its parent dies meanwhile", function()
    local p = here:fork()
    local err
    afar.nursery(function(n)
      n:spawn(function() err = fails(p.bootstrap, p, { "sleep", "60" }) end)
      afar.sleep(0.1)
      p.child:kill "SIGKILL"
    end)
    assert.is_string(tostring(err))
    p:wait()
  end)
end)

describe("this machine's root", function()
  it("can't be left", function()
    assert.matches("this machine's root ends with the program", tostring(fails(here.disconnect, here)))
    local p = here:fork()
    assert.matches("only a root can be disconnected", tostring(fails(p.disconnect, p)))
    p:exit()
  end)
end)
