-- The examples say what they are to say, here and behind a real sshd, and leave nothing.

local afar = require "afar"
local lfs = require "lfs"
local sshd = require "spec.support.sshd"

local program = os.getenv "AFAR" or "build/afar"

local function run(spec)
  spec.timeout = spec.timeout or 240
  spec.check = false
  local result = afar.here:run(spec)
  return result.stdout, result.stderr, tostring(result.status)
end

--- Runs an example, which must end well and silently; its lines.
local function example(name)
  local out, err, status = run { program, "examples/" .. name .. ".lua" }
  assert.equal("", err)
  assert.equal("exit code 0", status)
  return out
end

--- What there is in /tmp whose name begins so.
local function named(prefix)
  local found = {}
  for name in lfs.dir "/tmp" do
    if name:sub(1, #prefix) == prefix then found[#found + 1] = name end
  end
  table.sort(found)
  return found
end

local function has(text, expected)
  for line in expected:gmatch "[^\n]+" do
    assert.is_truthy((text .. "\n"):find(line .. "\n", 1, true), ("%q is missing in:\n%s"):format(line, text))
  end
end

describe("examples", function()
  it("01-hello calls, and shows errors", function()
    local out = example "01-hello"
    has(out, "size\tas stat says\nfound\tnil\nerrno\tENOENT")
    assert.matches('error\topen%("/no/such/file"%) in process %d+ on here: No such file or directory %(ENOENT%)\n', out)
    assert.matches("closed\tread.*: fd %d+ was closed before\n", out)
    assert.matches('typo\texamples/01%-hello.lua:%d+: a process has no method "opne" %(did you mean "open"%?%)\n', out)
  end)

  it("02-fork-exec makes a process into a program", function()
    local out = example "02-fork-exec"
    has(out, "exit code 3\t3\nin DIR, umask 0077, for afar\npermissions\t0600\nkilled by SIGINT\nraised\tSIGINT")
    assert.matches("status\texit code 2\tls: ", out)
  end)

  it("03-pipeline feeds two programs", function() assert.equal("  40000 host\n  20000 root\n  20000 stub\n", example "03-pipeline") end)

  it("04-chain sends calls as one", function()
    has(example "04-chain", "15 bytes\nthrough a pipe\tand then its end\nENOENT\tone round trip")
  end)

  it("05-nursery does things side by side", function()
    local out = example "05-nursery"
    has(out, "order\t0.1 0.2 0.3\tside by side\ncancelled\ttrue\nraised\texit code 1\ndeferred\ttrue")
    has(out, "timeout\ttrue\ttimeout: not done within 0.1 s")
  end)

  it("netlab makes a network, and traffic in it", function()
    local out = example "netlab"
    assert.matches('right\t"hello, right" from 10%.0%.1%.2:%d+\n', out)
    has(out, 'left\t"hello, left"\nrouter\tto1\thas carried it\nrouter\tto2\thas carried it')
  end)

  it("supervisor restarts what dies, gives up on what never works, and rotates logs", function()
    local out = example "supervisor"
    has(out, "worker: exit code 0\nbroken: ENOENT\nbroken: given up after 2 tries\nclock: exit code 1\nclock: given up after 3 tries")
    has(out, "  clock.log\n  clock.log.1\n  clock.log.2\n  worker.log")
    assert.equal(3, select(2, out:gsub("clock: exit code 1", "")))
  end)

  it("sandbox takes the network, the privileges and what can be written to from a program", function()
    local expected = "interfaces: 0 besides lo\ncan't write to /usr\n/tmp is its own: x\nroutes: 0\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nexit code 0"
    local out = example "sandbox"
    has(out, expected)
    assert.matches("^processes: %d+, pid 2\n", out)
    assert.equal("exit code 3", run { program, "examples/sandbox.lua", "sh", "-c", "exit 3" }:match "[^\n]+")
  end)

  it("06-two-machines is a pipeline between two", function()
    local out = example "06-two-machines"
    has(out, "two: 100000\n")
    has(out, "588895 bytes went from one to two\n")
  end)

  it("recipe changes what differs, and takes back what fails its check", function()
    for _, name in ipairs { "one", "two" } do afar.here:remove_tree("/tmp/afar-recipe-" .. name, { missing_ok = true }) end -- of a run that was killed
    local out = example "recipe"
    assert.matches("^port 8080\none +%S+ s  changed\ntwo +%S+ s  changed\n2 of 2 done, 0 failed\nport 8080\none +%S+ s  as it should be\n", out)
    assert.matches('\nport 80800\none +%S+ s  FAILED run%("grep [^\n]*: exit code 1\ntwo +%S+ s  FAILED', out)
    has(out, "name=one port=8080 \n")
    has(out, "name=two port=8080 \n")
    for _, name in ipairs { "one", "two" } do assert.is_nil(lfs.attributes("/tmp/afar-recipe-" .. name)) end
  end)

  it("mock answers for programs that a shell script runs", function()
    local out = example "mock"
    has(out, "mock: sendmail -t was given:\nmock:   To: root")
    has(out, "mock: not executed: rm -rf /important\n")
    has(out, "script: done")
  end)

  it("record lists all that a shell script runs, whatever its name", function()
    local out = example "record"
    assert.matches("^%d+ files\n2\n", out)
    assert.matches("\n%-%- 9 commands, by %d+ names", out)
    for _, line in ipairs { "ls /etc", "grep -c conf", "sort -r", "tail -n 1", "expr 1 + 1", "expr 2 + 1" } do
      assert.truthy(out:find("\n" .. line .. ", in /", 1, true), line .. " is missing in:\n" .. out)
    end
    assert.matches("\nenv LANGUAGE=de printf %%s files\\n %d+, in /.*\nprintf %%s files\\n %d+, in /", out)
  end)

  it("are all run by this spec, and each opens with what it shows", function()
    local known = { daemons = 1, fleet = 1, mock = 1, netlab = 1, recipe = 1, record = 1, sandbox = 1, supervisor = 1 }
    for _, name in ipairs { "01-hello", "02-fork-exec", "03-pipeline", "04-chain", "05-nursery", "06-two-machines" } do known[name] = 1 end
    for name in lfs.dir "examples" do
      local base = name:match "^(.*)%.lua$"
      if base then
        assert.is_truthy(known[base], name .. " is run by no spec")
        local file = assert(io.open("examples/" .. name))
        assert.matches("^%-%- %u", file:read "*l")
        file:close()
      end
    end
  end)
end)

describe("fleet.lua", function()
  local server

  setup(function() server = sshd.start(3) end)
  teardown(function() server:stop() end)

  local before
  before_each(function() before = named "afar-fleet-" end) -- a run that was killed may have left its own
  after_each(function() assert.same(before, named "afar-fleet-") end)

  it("serves a page on each of three machines, follows their logs, and leaves nothing", function()
    local out, err, status = run { program, "examples/fleet.lua", server.config }
    assert.equal("", err)
    assert.equal("exit code 0", status)
    for i = 1, 3 do
      assert.matches(("\n  afar%d    200 <h1>afar%d</h1>"):format(i, i), out)
      assert.matches(('\n  afar%d    "GET /missing HTTP/1.0" 404, %%d+ bytes\n'):format(i), out)
      assert.matches(("\nafar%d  .*3 lines\n"):format(i), out)
    end
    has(out, "Done; nothing is left.")
  end)

  local function interrupted_at(pattern)
    local p = afar.here:fork()
    local read, write = p:pipe2()
    local fork = p:fork()
    local child = fork:exec { program, "examples/fleet.lua", server.config, "afar1", "afar2", stdout = fork:inherit(write), stderr = "stdout" }
    write:close()
    local out = ""
    while not out:find(pattern) do
      local data = read:read()
      assert(data ~= "", "it ended before: " .. out)
      out = out .. data
    end
    child:kill "SIGINT"
    local status = afar.timeout(120, child.wait, child)
    repeat
      local data = read:read()
      out = out .. data
    until data == ""
    p:exit()
    assert.equal("exit code 130", tostring(status))
    assert.matches("afar: interrupted", out)
  end

  for _, at in ipairs { "Connecting", "Gathering", "Starting a web server", "Following the logs\n.*GET" } do
    it("cleans up on all machines when it is interrupted at " .. at:match "^[%w ]+", function() interrupted_at(at) end)
  end

  it("says which host can't be reached, and lets the others go", function()
    local _, err, status = run { program, "examples/fleet.lua", server.config, "afar1", "afar-closed" }
    assert.equal("exit code 1", status)
    assert.matches("^afar: ssh%(.*afar%-closed", err)
  end)
end)

describe("demo.sh", function()
  it("starts a server of its own, shows the fleet, and leaves nothing", function()
    local before = named "afar-demo-"
    local out, err, status = run { "sh", "examples/demo.sh", env = { AFAR = program } }
    assert.equal("", err)
    assert.equal("exit code 0", status)
    assert.matches("^Starting an sshd.*Done; nothing is left%.\n$", out)
    assert.same(before, named "afar-demo-")
  end)

  it("needs no root", function()
    if afar.here:getuid() ~= 0 then return end -- the one above has shown it
    local user = ("afar-spec-%d"):format(afar.here.pid)
    local added = afar.here:run { "useradd", "-M", "-d", "/nonexistent", "-s", "/bin/sh", user, check = false }
    if not added.status.ok then return pending("no user can be added: " .. added.stderr) end
    local as_user = { "runuser", "-u", user, "--", "env", "AFAR=" .. program, "TMPDIR=/tmp" }
    local readable = afar.here:run { "runuser", "-u", user, "--", program, "-v", check = false }
    local ok, out, err, status = pcall(function()
      as_user[#as_user + 1] = "sh"
      as_user[#as_user + 1] = "examples/demo.sh"
      return run(as_user)
    end)
    afar.here:run { "userdel", user, check = false }
    if not readable.status.ok then return pending "this folder is not readable for others" end
    assert(ok, out)
    assert.equal("", err)
    assert.equal("exit code 0", status)
    assert.matches("Done; nothing is left%.\n$", out)
    assert.is_nil(out:find("of uid 0\n", 1, true))
  end)
end)
