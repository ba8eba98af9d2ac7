-- The command line, as a user of `lua` knows it; signals; the prompt.

local here = require("afar").here

local function shell(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local root = shell("pwd"):gsub("\n", "")
local program = (os.getenv "AFAR" or "build/afar"):gsub("^[^/]", root .. "/%0")

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("the command", function()
  local dir

  setup(function() dir = shell("mktemp -d /tmp/afar-spec-cli.XXXXXX"):gsub("\n", "") end)
  teardown(function() os.execute("rm -rf " .. dir) end)

  local function write(name, text)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(text)
    file:close()
    return dir .. "/" .. name
  end

  -- A shell command in which $AFAR is the program: what it wrote, and its exit status.
  local function sh(command, input)
    write("input", input or "")
    local status = shell(
      ("unset AFAR_LUA; cd %s; AFAR=%s; export AFAR; { %s; } <input >out 2>err; echo $?"):format(dir, program, command)
    )
    return { out = read(dir .. "/out"), err = read(dir .. "/err"), status = tonumber(status) }
  end

  local function afar(...)
    local words = { "$AFAR" }
    for i, word in ipairs { ... } do
      words[i + 1] = quote(word)
    end
    return sh(table.concat(words, " "))
  end

  local function gives(expected, result)
    assert.are.equal("", result.err)
    assert.are.equal(expected, result.out)
    assert.are.equal(0, result.status)
  end

  describe("options", function()
    it("runs each -e and -l in their order, in one state", function()
      gives("1\tnil\n2\n", afar("-e", "x = 1", "-e", "print(x, y) y = 2", "-eprint(y)"))
      gives("table\tarray\n", afar("-l", "cjson", "-e", "print(type(cjson), cjson.decode('[1]')[1] and 'array')"))
      gives("function\n", afar("-llfs", "-e", "print(type(lfs.dir))"))
    end)

    it("runs a file with its arguments, and skips a first line with #!", function()
      local path = write("args.lua", "#!/usr/bin/env afar\nprint(#arg, arg[-1], arg[0], arg[1], select('#', ...), ...)\n")
      gives("2\t" .. program .. "\t" .. path .. "\ta\t2\ta\tb c\n", afar(path, "a", "b c"))
      gives("1\t--\t" .. path .. "\t-x\t1\t-x\n", afar("--", path, "-x"))
    end)

    it("runs standard input when it is no terminal, and for -", function()
      gives("in\t0\n", sh("$AFAR", "print('in', select('#', ...))"))
      gives("in\t-\t1\n", sh("$AFAR - 1", "print('in', arg[0], ...)"))
    end)

    it("doesn't read standard input for -e and -v", function()
      gives("left", sh("$AFAR -e 'x = 1'; cat", "left"))
      assert.is_true(sh("$AFAR -v; cat", "left").out:find "\nleft$" ~= nil)
    end)

    it("tells its version", function()
      local result = afar "-v"
      assert.are.equal(0, result.status)
      assert.truthy(result.out:find "^afar %d+%.%d+%.%d+ %(LuaJIT 2%.1[^,]*, stub x86_64, aarch64%)\n$")
    end)

    it("has subcommands that say how they are used", function()
      for name, argument in pairs { ps = "[HOST]", attach = "[HOST:]PATH", stop = "[HOST:]PATH", upgrade = "[HOST:]PATH" } do
        local usage = ("afar %s %s"):format(name, argument)
        gives("usage: " .. usage .. "\n", afar(name, "--help"))
        for _, wrong in ipairs { { "a", "b" }, { "-x" } } do
          local result = afar(name, unpack(wrong))
          assert.truthy(result.err:find("usage: " .. usage .. "\n", 1, true))
          assert.are.equal(1, result.status)
        end
      end
    end)

    it("has a manpage that tells of each option and subcommand", function()
      local page, told, count = read(root .. "/doc/afar.1"):gsub("\\%-", "-"), {}, 0
      for word in page:gmatch "\n%.TP\n%.B%u? ([^%s\\]+)" do told[word] = true end
      local help = afar("--help").out
      for option in help:gmatch "\n  (%-%S*)" do
        assert.is_true(told[option], option)
        count = count + 1
      end
      for name in help:match("afar (ps[^\n]*)"):gmatch "%l+%f[ ] %f[%[]" do
        assert.is_true(told[name:sub(1, -2)], name)
        count = count + 1
      end
      assert.are.equal(10, count)
    end)

    it("explains wrong usage and exits 1", function()
      for _, wrong in ipairs { "-x", "--nope", "-ix" } do
        local result = afar(wrong)
        assert.are.equal(1, result.status)
        assert.truthy(result.err:find("afar: unrecognized option '" .. wrong .. "'\nusage: ", 1, true))
      end
      local result = afar "-e"
      assert.are.equal(1, result.status)
      assert.truthy(result.err:find("afar: option '-e' needs a value\nusage: ", 1, true))
    end)
  end)

  describe("errors", function()
    it("shows the message and a traceback of the script alone, and exits 1", function()
      local path = write("deep.lua", "local function f()\n  error 'deep'\nend\nlocal function g() f() end\ng()\n")
      local result = afar(path)
      assert.are.equal(1, result.status)
      local first, rest = result.err:match "^([^\n]*)\n(.*)$"
      assert.are.equal("afar: " .. path .. ":2: deep", first)
      assert.truthy(rest:find "^stack traceback:\n")
      assert.truthy(rest:find("deep.lua:5: in main chunk", 1, true))
      assert.falsy(rest:find("afar/", 1, true))
    end)

    it("shows error objects by their __tostring", function()
      local result = afar("-e", "error(setmetatable({}, { __tostring = function() return 'an object' end }))")
      assert.are.equal(1, result.status)
      assert.truthy(result.err:find "^afar: an object\n")
      assert.truthy(afar("-e", "error{}").err:find "^afar: %(error object is a table value%)\n")
    end)

    it("says what is wrong with a file or a chunk", function()
      local result = afar "nowhere.lua"
      assert.are.equal(1, result.status)
      assert.are.equal("afar: cannot open nowhere.lua: No such file or directory\n", result.err)
      assert.are.equal("afar: (command line):1: unexpected symbol near '<eof>'\n", afar("-e", "x =").err)
    end)

    it("ends when nobody reads what it prints", function()
      local result = sh "timeout -s KILL 60 $AFAR -e 'while true do print \"y\" end' | head -n 1"
      assert.are.equal("y\n", result.out)
      assert.truthy(result.err:find("standard output: Broken pipe", 1, true))
    end)

    it("keeps what was printed before", function()
      local result = afar("-e", "io.write 'before' error 'x'")
      assert.are.equal("before", result.out)
    end)
  end)

  describe("exit", function()
    it("has the status of os.exit, and flushes", function()
      for code, status in pairs { ["7"] = 7, ["true"] = 0, ["false"] = 1, [""] = 0 } do
        local result = afar("-e", "io.write 'text' os.exit(" .. code .. ")")
        assert.are.equal(status, result.status)
        assert.are.equal("text", result.out)
      end
    end)

    it("finalizes all objects where os.exit is told to", function()
      local code = "local p = newproxy(true) getmetatable(p).__gc = function() io.write 'finalized' end "
      gives("finalized", afar("-e", code .. "os.exit(0, true)"))
      gives("finalized", afar("-e", code))
      gives("", afar("-e", code .. "os.exit(0)"))
    end)

    it("calls what exit.add was given, last first, which may wait", function()
      local hooks = [[
        local exit, sched = require "afar.exit", require "afar.sched"
        exit.add(function() print "first" end)
        exit.add(function() error "broken" end)
        exit.add(function() sched.sleep(0.01) print "last" end)
      ]]
      for ending, status in pairs { [""] = 0, ["os.exit(3)"] = 3, ["error 'x'"] = 1 } do
        local result = afar("-e", hooks .. ending)
        assert.are.equal("last\nfirst\n", result.out)
        assert.are.equal(status, result.status)
        assert.truthy(result.err:find("afar: at exit: (command line):2: broken\n", 1, true) or result.err:find "broken")
      end
    end)
  end)

  describe("modules", function()
    it("carries its library inside", function()
      gives("ok\n", sh "cp $AFAR copy && cd / && env -i $OLDPWD/copy -e 'require \"afar.sched\" print \"ok\"'")
      gives("7f454c46\n", afar("-e", "io.write((require('afar.stubs').aarch64:sub(1, 4):gsub('.', function(c) return ('%02x'):format(c:byte()) end)), '\\n')"))
    end)

    it("takes the library from AFAR_LUA, for those who work on it", function()
      os.execute(("mkdir -p %s/dev/afar && cp -r %s/lua/afar/. %s/dev/afar/"):format(dir, root, dir))
      write("dev/afar/version.lua", "return '9.9.9'")
      assert.truthy(sh("AFAR_LUA=dev $AFAR -v").out:find "^afar 9%.9%.9 ")
    end)

    it("loads Lua and C modules of Debian's packages, LUA_PATH and LUA_CPATH", function()
      gives("ok\n", afar("-e", "require 'lfs' require 'cjson' require 'pl.pretty' print 'ok'"))
      write("mine.lua", "return 'mine'")
      gives("mine\n", sh("LUA_PATH=\"$PWD/?.lua\" $AFAR -e 'print(require \"mine\")'"))
      local result = sh("LUA_CPATH=/nowhere/?.so $AFAR -l lfs")
      assert.are.equal(1, result.status)
      assert.truthy(result.err:find("no file '/nowhere/lfs.so'", 1, true))
    end)

    it("require and dofile let a module wait while it is loaded", function()
      write("waits.lua", "require('afar.sched').sleep(0.01) return { name = ... }")
      gives("waits\ttrue\n", sh "$AFAR -e 'local m = require \"waits\" print(m.name, m == require \"waits\")'")
      gives("table\n", sh "$AFAR -e 'print(type(dofile \"waits.lua\"))'")
    end)

    it("two routines that require the same module get one", function()
      write("slow.lua", "count = (count or 0) + 1 require('afar.sched').sleep(0.02) return {}")
      write("both.lua", [[
        local found = {}
        require("afar.nursery").nursery(function(n)
          for i = 1, 2 do n:spawn(function() found[i] = require "slow" end) end
        end)
        print(count, found[1] == found[2])
      ]])
      gives("1\ttrue\n", sh "$AFAR both.lua")
    end)

    it("require fails as LuaJIT's does", function()
      write("circle.lua", "return require 'circle'")
      write("broken.lua", "error 'at load'")
      write("syntax.lua", "x =")
      for _, name in ipairs { "circle", "nowhere.at.all", "syntax" } do
        local code = ("print(pcall(require, %q))"):format(name)
        local ours, theirs = sh("$AFAR -e " .. quote(code)), sh("luajit -e " .. quote(code))
        assert.are.equal(0, theirs.status)
        assert.are.equal(theirs.out, ours.out)
      end
      gives("false\t./broken.lua:1: at load\n", sh "$AFAR -e 'print(pcall(require, \"broken\"))'")
      local again = sh "$AFAR -e 'pcall(require, \"broken\") print(pcall(require, \"broken\"))'"
      assert.truthy(again.out:find("loop or previous error loading module 'broken'", 1, true))
      local dofile_error = sh "$AFAR -e 'print(pcall(dofile, \"nowhere.lua\"))'"
      assert.are.equal("false\tcannot open nowhere.lua: No such file or directory\n", dofile_error.out)
    end)
  end)

  describe("signals", function()
    local prelude = [[
      local ffi = require "ffi"
      ffi.cdef "int getpid(void); int kill(int, int);"
      local sched, nursery = require "afar.sched", require "afar.nursery"
      local function signal(n) ffi.C.kill(ffi.C.getpid(), n) end
    ]]

    local messages = { [1] = "hung up", [2] = "interrupted", [15] = "terminated" }

    for number, message in pairs(messages) do
      it(("signal %d cancels a script that waits, and its cleanups run"):format(number), function()
        local result = afar("-e", prelude .. ([[
          nursery.nursery(function(n)
            n:defer(function() sched.sleep(0.05) print "cleaned" end)
            signal(%d)
            sched.sleep(10)
          end)]]):format(number))
        assert.are.equal("cleaned\n", result.out)
        assert.are.equal(("afar: %s\n"):format(message), result.err)
        assert.are.equal(128 + number, result.status)
      end)
    end

    it("one that never waits", function()
      local result = afar("-e", "jit.off()" .. prelude .. "signal(2) while true do end")
      assert.are.equal("afar: interrupted\n", result.err)
      assert.are.equal(130, result.status)
    end)

    it("one whose spawned routine never waits", function()
      local result = afar("-e", "jit.off()" .. prelude .. [[
        nursery.nursery(function(n)
          n:defer(print, "cleaned")
          n:spawn(function() signal(15) while true do end end)
        end)]])
      assert.are.equal("cleaned\n", result.out)
      assert.are.equal("afar: terminated\n", result.err)
      assert.are.equal(143, result.status)
    end)

    it("the second one ends it at once", function()
      local result = afar("-e", prelude .. [[
        nursery.nursery(function(n)
          n:defer(function() signal(2) print "too late" end)
          signal(2)
          sched.sleep(10)
        end)]])
      assert.are.equal("", result.out)
      assert.is_nil(result.err:find("afar: ", 1, true))
      assert.are.equal(130, result.status)
    end)

    it("a second SIGHUP cuts no cleanup short: it comes from the kernel and from the shell", function()
      local result = afar("-e", prelude .. [[
        nursery.nursery(function(n)
          n:defer(function() signal(1) sched.sleep(0.05) print "cleaned" end)
          signal(1)
          sched.sleep(10)
        end)]])
      assert.are.equal("cleaned\n", result.out)
      assert.are.equal(129, result.status)
    end)

    it("what exit.add was given runs after one", function()
      local result = afar("-e", prelude .. [[
        require("afar.exit").add(function() sched.sleep(0.01) print "bye" end)
        signal(2)
        sched.sleep(10)]])
      assert.are.equal("bye\n", result.out)
      assert.are.equal(130, result.status)
    end)

    it("who catches it may go on", function()
      local result = afar("-e", prelude .. "signal(2) print(pcall(sched.sleep, 10)) print 'went on'")
      assert.are.equal("false\tinterrupted\nwent on\n", result.out)
      assert.are.equal(0, result.status)
    end)

    it("who catches one that came while it waited may go on, and wait again", function()
      local result = afar("-e", prelude .. [[
        os.execute(("(until [ -e go ]; do sleep 0.01; done; sleep 0.1; rm go; kill -INT %d) &"):format(ffi.C.getpid()))
        io.open("go", "w"):close() -- while os.execute waits, it is ignored
        print(pcall(sched.sleep, 60))
        jit.off()
        for _ = 1, 100000 do end
        print(pcall(sched.sleep, 0.01))]])
      assert.are.equal("false\tinterrupted\ntrue\n", result.out)
      assert.are.equal(0, result.status)
    end)

    it("stay ignored where they were (nohup)", function()
      local result = sh("trap '' 1; $AFAR -e " .. quote(prelude .. "signal(1) sched.sleep(0.05) print 'still there'"))
      gives("still there\n", result)
    end)
  end)

  it("passes on none of the fds that it was started with, but 0, 1 and 2", function()
    local script = quote [[io.write(require("afar").here:run { "sh", "-c", "for n in 3 5 7 9; do true 2>/dev/null <&$n && echo $n; done; echo end" }.stdout)]]
    gives("end\n", sh("exec 3</dev/null 5</dev/null 7</dev/null 9</dev/null; $AFAR -e " .. script))
  end)

  describe("the prompt", function()
    local terminal

    after_each(function()
      if terminal then terminal:close() end
      terminal = nil
    end)

    local function sees(text) terminal:expect((text:gsub("%p", "%%%0"):gsub("\n", "\r\n"))) end

    -- Types at a prompt under a terminal of its own, each time once what should be seen before has been seen: (typed, seen, typed, seen ...).
    local function talk(...)
      local steps = { ... }
      for i = 1, #steps, 2 do
        terminal:send(steps[i])
        sees(steps[i + 1])
      end
    end

    local function start(...)
      terminal = here:pty { program, cwd = dir, env = { AFAR_LUA = false, AFAR_HISTORY = "" }, ... }
      sees "> "
    end

    local function ends(status)
      assert.are.equal(status, terminal:wait().code)
    end

    it("prints values, and goes on after errors", function()
      start()
      assert.truthy(terminal.before:find("afar 0.", 1, true))
      talk("1 + 1\n", "2\n> ", "x = 5\n", "\n> ", "x, nil\n", "5\tnil\n> ", "= x + 1\n", "6\n> ", "error 'boo'\n", "boo\n> ")
      talk("nonsense here\n", "stdin:1: '=' expected near 'here'\n> ", "print 'end'\n", "\nend\n> ", "\4", "\n")
      ends(0)
    end)

    it("asks for more of what is incomplete", function()
      start()
      talk("for i = 1, 2 do\n", ">> ", "print('line', i)\n", ">> ", "end\n", "line\t1\nline\t2\n> ", "\4", "\n")
      ends(0)
    end)

    it("shows what is in a table, and what a program wrote", function()
      start()
      talk("{ 1, a = 'b' }\n", '{ 1, a = "b" }\n> ', "afar.here:run { 'echo', 'hel' .. 'lo' }\n", "hello\nexit code 0\n> ", "\4", "\n")
      ends(0)
    end)

    it("helps", function()
      start()
      talk("help\n", "p:read_file", "help(afar)\n", "is_cancelled", "nil\n", "nil\n> ", "\4", "\n")
      ends(0)
    end)

    it("lines may wait", function()
      start()
      talk("require('afar.sched').sleep(0.01) print 'awake'\n", "\nawake\n> ")
    end)

    it("Ctrl-C ends the line, not the prompt", function()
      start()
      talk("print('wai' .. 'ts') require('afar.sched').sleep(20)\n", "waits\n", "\3", "> ")
      talk("half a li", "half a li", "\3", "> ", "while true do\n", ">> ", "\3", "> ", "'alive' .. 1\n", "\nalive1\n> ", "\4", "\n")
      ends(0)
    end)

    it("Ctrl-C ends a line that never waits", function()
      start()
      talk("print('run' .. 's') while true do end\n", "runs\n", "\3", "> ", "'alive' .. 1\n", "\nalive1\n> ", "\4", "\n")
      ends(0)
    end)

    it("SIGTERM ends it", function()
      start()
      terminal:send "os.execute 'kill $PPID'\n"
      ends(143)
    end)

    it("comes after a script with -i, though it failed", function()
      start("-i", write("fails.lua", "found = 'kept' error 'failed'"))
      assert.truthy(terminal.before:find("fails.lua:1: failed", 1, true))
      talk("found .. 1\n", "\nkept1\n> ", "\4", "\n")
      ends(0)
    end)

    it("-i reads its lines from a pipe too", function()
      local result = sh("$AFAR -i", "x = 1\nx + 1")
      assert.truthy(result.out:find("> 2\n", 1, true))
      assert.are.equal(0, result.status)
    end)
  end)
end)
