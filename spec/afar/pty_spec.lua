-- Commands under a terminal of their own.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

for _, name in ipairs { "here", "over pipes", "over ssh" } do
  ways.over(ways.get(name), function(way)
    describe("p:pty", function()
      local t

      local function open(...)
        t = way.root:pty { ... }
        return t
      end

      after_each(function()
        if t then t:close() end
        t = nil
      end)

      it("gives a program a terminal, which controls its session", function()
        open("sh", "-c", "tty; test -t 0 && test -t 1 && test -t 2 && echo all; ps -o tty=,sid=,pgid=,tpgid= -p $$; echo $$; exec cat")
        local tty = t:expect "/dev/(pts/%d+)"
        t:expect "all"
        local on, sid, pgid, tpgid, pid = t:expect "(%S+)%s+(%d+)%s+(%d+)%s+(%d+)%s+(%d+)\r\n"
        assert.equal(tty, on)
        assert.same({ pid, pid, pid }, { sid, pgid, tpgid })
      end)

      it("is driven by the script", function()
        open("sh", "-c", [[printf 'name? '; read name; printf 'age? '; read age; echo "$name is $age"]])
        assert.equal("name? ", t:expect "name%? ")
        t:send "Ada\n"
        t:expect "age"
        t:send "36\n"
        local who, age = t:expect "(%a+) is (%d+)"
        assert.same({ "Ada", "36" }, { who, age })
        assert.is_true(t:wait().ok)
        assert.equal("\r\n", t:read())
        assert.equal("", t:read())
      end)

      it("says which of several patterns came first", function()
        open("sh", "-c", "echo one; echo two=2")
        local index, value = t:expect { "two=(%d)", "o(n)e" }
        assert.same({ 2, "n" }, { index, value })
        index, value = t:expect { "two=(%d)", "o(n)e" }
        assert.same({ 1, "2" }, { index, value })
        assert.equal("\r\n", t.before)
      end)

      it("tells what was seen when nothing fits in time", function()
        open("sh", "-c", "printf 'ready\\nsomething else\\n'; exec sleep 60")
        t:expect "ready\r\n"
        local start = os.time()
        local text, err = message(t.expect, t, "login:", 0.5)
        assert.equal("timeout", err.name)
        assert.matches('^expect%("login:"%) in process %d+ on .*: nothing fitted within 0.5 s; seen so far: ".*something else\\r?\\?1?3?\\n"', text)
        assert.is_true(os.time() - start < 20)
        t:expect "some" -- nothing of it is lost
      end)

      it("tells what was seen when the program has ended", function()
        open("sh", "-c", "echo good bye")
        local text, err = message(t.expect, t, "login:")
        assert.equal("EOF", err.name)
        assert.matches("the program closed its terminal before", text)
        assert.equal("good bye\r\n", err.seen)
      end)

      it("has a size, which may change", function()
        t = way.root:pty { "sh", "-c", "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done", rows = 40, cols = 100 }
        t:expect "40 100"
        t:expect "ready"
        t:resize(50, 120)
        t:expect "50 120"
      end)

      it("takes keys that are signals", function()
        open("sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done")
        t:expect "ready"
        t:send "\3"
        t:expect "caught"
        assert.equal(3, t:wait().code)
      end)

      it("hangs up when it is closed", function()
        open("sh", "-c", "echo ready; exec sleep 60")
        t:expect "ready"
        local child = t.child
        assert.equal("SIGHUP", t:close().signal)
        assert.is_true(child:has_ended())
      end)

      it("ends even what ignores that", function()
        open("sh", "-c", "trap '' HUP; echo ready; while :; do sleep 0.1; done")
        t:expect "ready"
        assert.equal("SIGKILL", t:close().signal)
      end)

      it("carries much, both ways, without blocking the process", function()
        open("sh", "-c", "stty raw -echo; echo ready; exec cat")
        t:expect "ready\n"
        local text = ("0123456789abcdef"):rep(8192)
        local got = {}
        afar.nursery(function(n)
          n:spawn(t.send, t, text)
          local length = 0
          while length < #text do
            got[#got + 1] = t:read()
            length = length + #got[#got]
          end
          assert.equal(way.root.pid, way.root:getpid())
        end)
        assert.is_true(table.concat(got) == text)
      end)

      it("leaves nothing when the program can't be started", function()
        local before = probe.holds(way.root).fds
        assert.matches("ENOENT", message(way.root.pty, way.root, { "/none" }))
        assert.is_true(probe.soon(function() return probe.holds(way.root).fds <= before end))
      end)

      it("finds the program's side by its name where the kernel doesn't open it", function()
        local C = way.root.machine.sys.C
        local peer = C.TIOCGPTPEER
        C.TIOCGPTPEER = 0x54ff -- no such thing
        local ok, err = pcall(open, "tty")
        C.TIOCGPTPEER = peer
        assert.is_true(ok, tostring(err))
        t:expect "/dev/pts/%d+\r\n"
        assert.is_true(t:wait().ok)
      end)

      it("refuses bad input", function()
        local p = way.root
        assert.matches("rows and cols are numbers from 1 to 65535, not 0", message(p.pty, p, { "sh", rows = 0 }))
        assert.matches("stdin is the terminal", message(p.pty, p, { "sh", stdin = "null" }))
        assert.matches('there is no option "colls"', message(p.pty, p, { "sh", colls = 3 }))
        assert.matches("a table was expected", message(p.pty, p, "sh"))
        open "cat"
        assert.matches("a Lua pattern", message(t.expect, t, {}))
        assert.matches("malformed pattern", message(t.expect, t, "(%d"))
      end)
    end)
  end)
end

describe("t:attach", function()
  local afar_program = "build/afar"

  --- The host itself under a terminal of ours, running `code`.
  local function host(code)
    local t = afar.here:pty { afar_program, "-e", 'local afar = require "afar"; ' .. code, env = { AFAR_LUA = os.getenv "AFAR_LUA" or false } }
    return t
  end

  it("gives the program our keys, our screen and our size, and puts ours back", function()
    local t = host [[local t = afar.here:pty { "sh", "-c",
      "stty size; printf 'name? '; read name; echo hello $name; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done" }
      print("status", t:attach().code)
      print("line", io.read())]]
    t:expect "24 80"
    t:expect "name%? "
    t:send "Ada\n"
    t:expect "hello Ada"
    t:expect "ready"
    t:resize(33, 99)
    t:expect "33 99"
    assert.equal("7", (t:expect "status%s+(%d+)"))
    t:send "again\n" -- our terminal echoes, and gives lines: it is as it was
    t:expect "again\r\n"
    t:expect "line%s+again"
    assert.is_true(t:wait().ok)
    t:close()
  end)

  it("puts ours back when the script fails, is cancelled, or leaves", function()
    for _, how in ipairs { "afar.timeout(0.2, t.attach, t)", "afar.nursery(function(n) n:spawn(t.attach, t) afar.sleep(0.1) error 'oops' end)",
      "afar.nursery(function(n) n:spawn(t.attach, t) afar.sleep(0.1) os.exit(1) end)" } do
      local command = ("%s -e 'local afar = require \"afar\" local t = afar.here:pty { \"sleep\", \"60\" } %s'; stty -a"):format(
        afar_program, (how:gsub("'", "\"")))
      local t = afar.here:pty { "sh", "-c", command }
      local echo = t:expect("(%-?)echo ", 60)
      assert.equal("", echo, how)
      t:close()
    end
  end)

  it("needs a terminal", function()
    local result = afar.here:run { afar_program, "-e", 'require("afar").here:pty{"cat"}:attach()', check = false }
    assert.matches("attach: the host's stdin is no terminal", result.stderr)
  end)
end)
