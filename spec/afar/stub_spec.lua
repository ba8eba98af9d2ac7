-- Programs that a script answers for: what the script learns of a call, what it can do with it, and what callers get when it is gone.

local afar = require "afar"
local lfs = require "lfs"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

ways.each(function(way)
  if way.emulated then return end -- the image would be the emulated machine's
  local p, dir, stub

  before_each(function()
    p = way.root
    dir = p:mkdtemp()
  end)
  after_each(function()
    if stub then stub:close() end
    stub = nil
    p:remove_tree(dir)
  end)

  --- Runs `spec` while `f` answers the calls.
  local function answered(f, spec)
    local result
    stub = stub or p:stub(dir, "tool")
    afar.nursery(function(n)
      n:spawn(stub.serve, stub, f)
      spec.check = false
      result = p:run(spec)
      stub:close()
    end)
    return result
  end

  describe("a caller", function()
    --- Connects as a caller might that is none, and says this.
    local function connected(bytes)
      local socket = p:socket "AF_UNIX"
      socket:connect { family = "AF_UNIX", path = stub.socket }
      if bytes then socket:write(bytes) end
      return socket
    end

    it("that says nothing, or nonsense, keeps nobody else out", function()
      stub = p:stub(dir, "tool")
      local others = { connected(), connected(), connected(("x"):rep(1000)), connected(stub.marker .. ("AFAR\1"):rep(200)), connected() }
      assert.equal(7, answered(function() return 7 end, { dir .. "/tool" }).status.code)
      for _, other in ipairs(others) do other:close() end
    end)

    it("that ends while it is heard is no error of the script", function()
      stub = p:stub(dir, "tool")
      for _ = 1, 3 do connected(stub.marker):close() end
      assert.equal(7, answered(function() return 7 end, { dir .. "/tool" }).status.code)
    end)
  end)

  describe("a call", function()
    it("says how it was made", function()
      local seen
      local function look(call)
        seen = {
          argv = call.argv, cwd = call.cwd, word = call.environ.WORD, pid = call.pid, ppid = call.ppid, uid = call.uid,
          stdin = call.stdin:read(100), mask = call.sigmask,
        }
      end
      local result = answered(look, { dir .. "/tool", "-x", "two words", "", stdin = "in", env = { WORD = "b" }, cwd = "/usr" })
      assert.same({ dir .. "/tool", "-x", "two words", "" }, seen.argv)
      assert.equal("/usr", seen.cwd)
      assert.equal("b", seen.word)
      assert.equal("in", seen.stdin)
      assert.equal(p:getuid(), seen.uid)
      assert.equal(8, #seen.mask)
      assert.is_true(result.status.ok)
    end)

    it("is answered with text and a code", function()
      local result = answered(function(call) call:answer { stdout = "out\n", stderr = "err\n", code = 7 } end, { dir .. "/tool" })
      assert.equal("out\n", result.stdout)
      assert.equal("err\n", result.stderr)
      assert.equal(7, result.status.code)
    end)

    it("ends with the number that the function returns", function()
      assert.equal(3, answered(function() return 3 end, { dir .. "/tool" }).status.code)
    end)

    it("becomes another program under the same pid", function()
      local pid
      local function become(call)
        pid = call.pid
        call:exec { "sh", "-c", "echo $$; cat; exit 5", env = { LC_ALL = "C" } }
      end
      local result = answered(become, { dir .. "/tool", stdin = "passed on" })
      assert.equal(pid .. "\npassed on", result.stdout)
      assert.equal(5, result.status.code)
    end)

    it("goes on when there is nothing to be executed", function()
      local err
      local function fail(call)
        local _
        _, err = afar.try(call.exec, call, { "/no/such/program" })
        return 4
      end
      assert.equal(4, answered(fail, { dir .. "/tool" }).status.code)
      assert.equal("ENOENT", err.name)
    end)

    it("is a process to act in", function()
      local function act(call)
        call.process:write_file(dir .. "/made", call.process:run({ "echo", "here" }).stdout)
      end
      answered(act, { dir .. "/tool" })
      assert.equal("here\n", p:read_file(dir .. "/made"))
    end)

    it("is one of several at once", function()
      local together, most = 0, 0
      local function hold(call)
        together = together + 1
        most = math.max(most, together)
        while most < 5 do afar.sleep(0.005) end
        call:answer { stdout = call.argv[2] .. "\n" }
      end
      local script = 'for i in 1 2 3 4 5; do "$0" $i & done; wait'
      local result = answered(hold, { "sh", "-c", script, dir .. "/tool" })
      local lines = {}
      for line in result.stdout:gmatch "%d+" do lines[#lines + 1] = line end
      table.sort(lines)
      assert.same({ "1", "2", "3", "4", "5" }, lines)
    end)

    it("ended by its caller is no error of the script", function()
      local ended
      local function wait(call)
        p:write_file(dir .. "/seen", "")
        local ok, err = pcall(function()
          while true do
            call.process:getpid()
            afar.sleep(0.01)
          end
        end)
        ended = not ok and err
        error(err, 0)
      end
      local script = '"$0" & until [ -e "$1" ]; do sleep 0.01; done; kill -9 $!; wait; echo done'
      local result = answered(wait, { "sh", "-c", script, dir .. "/tool", dir .. "/seen" })
      assert.is_true(afar.is_error(ended))
      assert.equal("done\n", result.stdout)
    end)

    it("is told of a mistake in the script, which is raised, too", function()
      local result, seen
      stub = p:stub(dir, "tool")
      local ok, err = pcall(afar.nursery, function(n)
        n:spawn(function()
          result = p:run { dir .. "/tool", check = false }
          seen = true
        end)
        stub:serve(function() error("a mistake", 0) end)
      end)
      assert.is_false(ok)
      assert.equal("a mistake", err)
      if seen then assert.equal(127, result.status.code) end
    end)
  end)

  describe("nobody answers", function()
    local GONE = "tool: nobody answers: the script that stands behind this program has gone\n"

    it("once the stub was closed", function()
      stub = p:stub(dir, "tool")
      p:link(stub.path, dir .. "/other-tool")
      stub:close()
      assert.same({}, p:run({ "sh", "-c", "ls -A", cwd = dir, check = false }).stdout == "other-tool\n" and {} or { "files are left" })
      local result = p:run { dir .. "/other-tool", check = false }
      assert.equal(127, result.status.code)
      assert.equal(dir .. "/other-" .. GONE, result.stderr)
    end)

    --- How many programs there are that are the stub's.
    local function callers()
      local tool, count = dir .. "/tool", 0
      for name in lfs.dir "/proc" do
        local file = name:find "^%d+$" and io.open("/proc/" .. name .. "/cmdline")
        if file then
          if (file:read "*a" or ""):sub(1, #tool) == tool then count = count + 1 end
          file:close()
        end
      end
      return count
    end

    it("when it goes while callers wait", function()
      stub = p:stub(dir, "tool")
      local results = {}
      afar.nursery(function(n)
        for i = 1, 2 do
          n:spawn(function() results[i] = p:run { dir .. "/tool", check = false } end)
        end
        local call = stub:accept()
        assert.is_true(probe.soon(function() return callers() == 2 end))
        stub:close()
        call.made:close()
      end)
      for _, result in ipairs(results) do
        assert.equal(127, result.status.code)
        assert.equal(dir .. "/" .. GONE, result.stderr)
      end
    end)
  end)

  it("refuses what can't be", function()
    for _, case in ipairs {
      { {}, "the directory is a string, not nil" },
      { { dir, "a/b" }, 'one name of a file, not "a/b"' },
      { { dir, ".." }, "one name of a file" },
      { { dir, "x", { moda = 1 } }, 'no option "moda"' },
      { { dir .. ("/d"):rep(60), "x" }, "too long" },
      { { dir, "x", { mode = "rwx" } }, "permissions are a number" },
      { { "/no/such/dir", "x" }, "No such file" },
    } do
      local ok, err = pcall(p.stub, p, unpack(case[1]))
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end
    assert.equal("", p:run({ "ls", "-A", dir }).stdout)
  end)
end)

describe("a stub's script that is killed", function()
  it("leaves callers with a clear error", function()
    local h = afar.here
    local dir = h:mkdtemp()
    local script = [[
      local stub = require("afar").here:stub(arg[1], "tool")
      print "ready"
      io.stdout:flush()
      stub:serve(function() require("afar").sleep(100) end)]]
    h:write_file(dir .. "/script.lua", script)
    local read, write = h:pipe2()
    local child = h:fork()
    local running = child:exec { os.getenv "AFAR" or "build/afar", dir .. "/script.lua", dir, stdout = child:inherit(write) }
    write:close()
    assert.equal("ready\n", read:read(100))
    local result
    afar.nursery(function(n)
      n:spawn(function() result = h:run { dir .. "/tool", check = false } end)
      afar.sleep(0.2)
      running:kill "SIGKILL"
    end)
    assert.equal(127, result.status.code)
    assert.matches("nobody answers", result.stderr)
    assert.equal(127, h:run({ dir .. "/tool", check = false }).status.code)
    running:wait()
    read:close()
    h:remove_tree(dir)
  end)
end)
