-- How a process becomes another program, and what that program has.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

describe("exec", function()
  ways.each(function(way)
    local before

    before_each(function() before = probe.holds(way.root) end)
    after_each(function() assert.same(before, probe.holds(way.root, before)) end)

    --- What a program that is execed by a fork, with these options, prints.
    local function output(spec, prepare)
      local from, to = way.root:pipe2()
      local p = way.root:fork()
      if prepare then prepare(p, spec) end
      spec.stdout = spec.stdout or p:inherit(to)
      to:close()
      local child = p:exec(spec)
      local parts = {}
      repeat
        parts[#parts + 1] = from:read()
      until parts[#parts] == ""
      from:close()
      return table.concat(parts), child:wait()
    end

    it("gives a cat between two pipes, which ends when its input does", function()
      local cat_in, to = way.root:pipe2()
      local from, cat_out = way.root:pipe2()
      local p = way.root:fork()
      p:inherit(cat_in):dup2(0)
      p:inherit(cat_out):dup2(1)
      cat_in:close()
      cat_out:close()
      local child = p:exec { "cat" }
      to:write "hello"
      assert.equal("hello", from:read())
      to:close()
      assert.equal("", from:read())
      assert.equal(0, child:check().code)
      from:close()
    end)

    it("uses the process up", function()
      local p = way.root:fork()
      local pid = p.pid
      local child = p:exec { "true" }
      assert.equal(pid, child.pid)
      assert.is_false(p:is_alive())
      local ok, err = pcall(p.getpid, p)
      assert.is_false(ok)
      assert.is_false(err.sent)
      child:check()
    end)

    it("passes arguments as they are", function()
      local odd = "a b'c\"d\\e\n$HOME*\195\164"
      assert.equal("<" .. odd .. "><><2>", (output { "printf", "<%s>", odd, "", 2 }))
    end)

    it("looks in PATH, and where the name says", function()
      assert.equal("x\n", (output { "echo", "x" }))
      assert.equal("x\n", (output { "/bin/echo", "x" }))
      assert.equal("x\n", (output({ "./echo", "x", cwd = "/bin" })))
      assert.equal("x\n", (output { "echo", "x", env = { PATH = "/nowhere:/etc/passwd:/bin" } }))
    end)

    it("sets the environment, the directory, the name and the umask", function()
      local text = output { "sh", "-c", "echo $X,$HOME,$0; pwd; umask", env = { X = "y", HOME = false }, cwd = "/usr", umask = 63, argv0 = "me" }
      assert.equal("y,,me\n/usr\n0077\n", text)
      assert.equal("A=b\nPATH=/bin:/usr/bin\n", (output { "env", env = { A = "b", PATH = "/bin:/usr/bin" }, clean_env = true }))
    end)

    it("takes the process's environment as it is then", function()
      local text = output({ "sh", "-c", "echo $X" }, function(p) p.environ.X = "changed" end)
      assert.equal("changed\n", text)
      assert.equal("\n", (output { "sh", "-c", "echo $X" }))
    end)

    it("gives no fds but the standard ones and those to keep", function()
      local fd = way.root:open "/etc/hosts"
      local function prepare(p, spec)
        p:inherit(fd)
        p:open "/etc/passwd"
        spec.keep = { p:inherit(fd) }
      end
      local text = output({ "sh", "-c", 'for f in /proc/$$/fd/*; do readlink $f; done | grep -e passwd -e hosts -e socket -e event -e pidfd; true' }, prepare)
      assert.equal("/etc/hosts\n", text)
      fd:close()
    end)

    it("sends stderr after stdout, and to nowhere", function()
      assert.equal("out\nerr\n", (output { "sh", "-c", "echo out; echo err >&2", stderr = "stdout" }))
      assert.equal("out\n", (output { "sh", "-c", "echo out; echo err >&2", stderr = "null" }))
      assert.equal("", (output { "cat", stdin = "null" }))
    end)

    it("puts fds in their places, however they cross", function()
      way:with_fork(function(p)
        local a, b = p:open("/tmp", "O_RDWR|O_TMPFILE"), p:open("/tmp", "O_RDWR|O_TMPFILE")
        local c = p:fork()
        local child = c:exec { "sh", "-c", "echo one; echo two >&2", stdout = c:inherit(b), stderr = c:inherit(a) }
        child:check()
        assert.equal("one\n", b:pread(100, 0))
        assert.equal("two\n", a:pread(100, 0))
      end)
    end)

    it("gives programs the signals that they expect", function()
      local _, status = output { "sh", "-c", "kill -PIPE $$; echo survived" }
      assert.equal("SIGPIPE", status.signal)
      local text = output { "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status" }
      local blocked, ignored = text:match "SigBlk:%s*(%x+)%s+SigIgn:%s*(%x+)"
      assert.equal(tonumber(way.root:run({ "awk", "/SigBlk/ { print $2 }", "/proc/self/status" }).stdout, 16), tonumber(blocked, 16))
      assert.equal(0, tonumber(ignored:sub(-4), 16) % 0x2000 - tonumber(ignored:sub(-4), 16) % 0x1000) -- SIGPIPE
      text = output { "awk", "/SigIgn/ { print $2 }", "/proc/self/status", ignore = { "SIGINT", "SIGPIPE" } }
      local mask = tonumber(text:sub(-5, -2), 16)
      assert.equal(2, mask % 4 - mask % 2)
    end)

    it("puts the limit of fds back", function()
      local soft = ffi.cast("const uint64_t *", way.root.machine.hello.nofile)[0]
      assert.equal(tonumber(soft) .. "\n", (output { "sh", "-c", "ulimit -n" }))
    end)

    it("that fails leaves the process as it was", function()
      local p = way.root:fork()
      local ok, err = pcall(p.exec, p, { "no-such-program", "x" })
      assert.is_false(ok)
      assert.is_true(afar.is_error(err, "ENOENT"))
      assert.matches('no "no%-such%-program" in PATH, which is /', tostring(err))
      assert.is_true(p:is_alive())
      probe.works(p)
      local from, to = p:pipe2()
      from:close()
      assert.equal("EPIPE", select(2, pcall(to.write, to, "x")).name) -- and no signal
      assert.equal("EACCES", select(2, pcall(p.exec, p, { "/etc/passwd" })).name)
      assert.equal("EACCES", select(2, pcall(p.exec, p, { "passwd", clean_env = true, env = { PATH = "/nowhere:/etc:/" } })).name)
      assert.equal("ENOENT", select(2, pcall(p.exec, p, { "true", cwd = "/no/such" })).name)
      assert.equal("ENOENT", select(2, pcall(p.exec, p, { "/no/such" })).name)
      p:exec({ "true" }):check()
    end)

    it("does not take a directory of PATH that may not be searched for a program that may not be executed", function()
      local dir = way.root:mkdtemp()
      way.root:chmod(dir, 0)
      local p = way.root:fork()
      if p:getuid() == 0 then p:setresuid(65534, 65534, 65534) end
      local ok, err = pcall(p.exec, p, { "true", env = { PATH = "/nowhere:" .. dir } })
      assert.is_false(ok)
      assert.equal("ENOENT", err.name)
      assert.matches('no "true" in PATH, which is /nowhere:', tostring(err))
      p:exit(0)
      way.root:rmdir(dir)
    end)

    it("works where the table is shared", function()
      way:needs "CLONE_FILES"
      local from, to = way.root:pipe2()
      local p = way.root:clone "CLONE_FILES"
      local child = p:exec { "echo", "x", stdout = to }
      to:close()
      assert.equal("x\n", from:read())
      assert.equal("", from:read())
      child:check()
      from:close()
    end)

    it("tells that it was done before the program ends", function()
      local child = way.root:fork():exec { "sleep", "60" }
      assert.matches("^sleep", assert(probe.status(child.pid, "Name")))
      child:kill()
      child:wait()
    end)
  end)

  it("says what is wrong with what it is given", function()
    local p = afar.here:fork()
    local function message(spec)
      local ok, err = pcall(p.exec, p, spec)
      assert.is_false(ok)
      return tostring(err)
    end
    assert.matches('a table was expected: exec{ "true" }', message "true")
    assert.matches("a table was expected, not nil", message(nil))
    assert.matches("the program's name is missing", message {})
    assert.matches('there is no option "stdot" %(did you mean "stdout"%?%)', message { "true", stdot = "null" })
    assert.matches("argument 2 is a table, not a string", message { "true", {} })
    assert.matches("argument 2 has a NUL byte in it", message { "true", "a\0b" })
    assert.matches("stdin: an fd was expected, not string", message { "true", stdin = "nul" })
    p:exit()
  end)
end)
