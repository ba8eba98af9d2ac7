-- What errors are: one clear line that says what was asked, of which process, and what the kernel said.

local afar = require "afar"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").err

describe("an error", function()
  ways.each(function(way)
    it("says what was asked, of which process, and what the kernel said", function()
      local p = way.root
      local err = fails(p.open, p, "/no/such")
      assert.same({ "ENOENT", 2, "open", "/no/such", p }, { err.name, err.errno, err.call, err.args[1], err.process })
      assert.equal(
        ('open("/no/such") in process %d on %s: No such file or directory (ENOENT)'):format(p.pid, p.machine.name),
        tostring(err)
      )
      err = fails(p.syscall, p, "fchdir", p:open "/etc/passwd")
      assert.matches("^fchdir%(fd %d+%) in process %d+ on .*: Not a directory %(ENOTDIR%)$", tostring(err))
    end)

    it("has the numbers of its architecture", function()
      local err = fails(way.root.symlink, way.root, "x", ("y/"):rep(3000))
      assert.same({ "ENAMETOOLONG", 36 }, { err.name, err.errno })
    end)
  end)

  local p = afar.here

  it("is one line, whatever was asked", function()
    local long = tostring(fails(p.open, p, ("long"):rep(1000) .. "\n" .. ("x"):rep(1000)))
    assert.is_nil(long:find("\n", 1, true))
    assert.is_true(#long < 250)
    assert.is_nil(tostring(fails(p.open, p, "a\nb\0c")):find("\0", 1, true))
  end)

  it("shows what others are by what they are", function()
    local child = p:fork()
    local err = fails(child.syscall, child, "kill", child, 9999)
    assert.is_string(tostring(err))
    local ptr = child:malloc(8)
    assert.matches("pointer to 8 bytes at 0x%x+ of process", tostring(fails(child.syscall, child, "fchdir", ptr)))
    child:exit()
  end)

  it("hints at what to do", function()
    local child = p:fork()
    local limit = child:prlimit(0, "RLIMIT_NOFILE")
    child:prlimit(0, "RLIMIT_NOFILE", { soft = 12, hard = limit.hard })
    local held = {}
    local err = fails(function()
      for i = 1, 20 do
        held[i] = child:open "/"
      end
    end)
    assert.equal("EMFILE", err.name)
    assert.is_true(#held > 3 and #held < 12)
    assert.matches("Too many open files %(EMFILE%); close some fds, or raise RLIMIT_NOFILE", tostring(err))
    child:exit()
  end)

  it("is told from others", function()
    local err = fails(p.open, p, "/no/such")
    assert.is_true(afar.is_error(err))
    assert.is_true(afar.is_error(err, "ENOENT"))
    assert.is_false(afar.is_error(err, "EACCES"))
    assert.is_false(afar.is_error "text")
    assert.is_false(afar.is_error { name = "ENOENT" })
    assert.is_false(afar.is_cancelled(err))
  end)

  it("knows where in the script it came from", function()
    local routine_error
    pcall(afar.nursery, function(n)
      n:spawn(function()
        local ok, err = xpcall(function() p:open "/no/such" end, function(err) return err end)
        assert(not ok)
        routine_error = err
        error(err, 0)
      end)
    end)
    assert.matches("error_spec.lua:%d+", routine_error.traceback)
  end)

  it("of a process that has gone says how", function()
    local execed, ended = p:fork(), p:fork()
    execed:exec({ "true" }):wait()
    ended:exit(3)
    assert.matches("the process had become another program %(true%); it was surely not performed; what runs is its child, p%.child; fork first$",
      tostring(fails(execed.getpid, execed)))
    assert.matches("^run%(\"ls\"%) in process %d+ on here: the process had ended before %(exit code 3%); it was surely not performed$",
      tostring(fails(ended.run, ended, { "ls" })))
    local far = p:bootstrap { "sh", name = "far" }
    local child = far:fork()
    far:disconnect()
    assert.matches("the connection to far had ended before; it was surely not performed$", tostring(fails(child.getpid, child)))
    assert.is_false(fails(child.getpid, child).sent)
  end)

  it("of a call that no kernel has says so", function()
    local child = p:fork()
    assert.equal("ENOSYS", fails(child.syscall, child, 9999).name)
    assert.matches("syscall 9999%(1, 2%) in process %d+ on here: Function not implemented %(ENOSYS%)", tostring(fails(child.syscall, child, 9999, 1, 2)))
    child:exit()
  end)
end)
