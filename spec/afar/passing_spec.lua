-- Fds that a program gets: as arguments, and listening sockets as systemd passes them.

local afar = require "afar"
local ways = require "spec.support.ways"

local failure = require("spec.support.raised").message

local TELL = 'echo "$LISTEN_FDS $((LISTEN_PID == $$)) $LISTEN_FDNAMES"; readlink /proc/self/fd/3 /proc/self/fd/4'

local SERVE = [[
  local ffi = require "ffi"
  ffi.cdef "int accept(int, void *, void *); long write(int, const void *, long);"
  ffi.C.write(ffi.C.accept(3, nil, nil), "hello", 5)
]]

describe("a program", function()
  ways.each(function(way)
    it("gets an fd as an argument: its number, and open", function()
      way:with_fork(function(p)
        local fd = p:open "/etc/hostname"
        local name = p:read_file "/etc/hostname"
        local said = p:run({ "sh", "-c", 'echo "$1 $2"; cat <&"$2"', "sh", "--fd", fd }).stdout
        assert.equal(("--fd %d\n"):format(fd.number) .. name, said)
        assert.equal(1, fd:fcntl "F_GETFD") -- it is kept in the program only
        assert.is_true(p:run({ "sh", "-c", "cat <&" .. fd.number, check = false }).status.code ~= 0)
      end)
    end)

    it("gets listening sockets from 3 on, and is told so", function()
      way:with_fork(function(p)
        local l, file = p:socket "AF_UNIX", p:open "/etc/hostname"
        l:bind { family = "AF_UNIX" }
        l:listen()
        local said = p:run({ "sh", "-c", TELL, listen_fds = { file, l, names = { "file", "sock" } } }).stdout
        assert.matches("^2 1 file:sock\n/etc/hostname\nsocket:%[%d+%]\n$", said)
        said = p:run({ "sh", "-c", TELL, listen_fds = { file }, env = { LISTEN_FDNAMES = "stale" }, check = false }).stdout
        assert.matches("^1 1 \n/etc/hostname\n$", said)
      end)
    end)

    it("serves from a socket that was made for it", function()
      way:with_fork(function(p)
        local l = p:socket "AF_INET"
        local a = l:bind "127.0.0.1:0"
        l:listen()
        local kid = p:fork()
        local child = kid:exec { "luajit", "-e", SERVE, listen_fds = { kid:inherit(l) } }
        local c = p:socket "AF_INET"
        c:connect(a)
        l:close()
        assert.equal("hello", afar.timeout(60, function() return c:reader():all() end))
        child:check()
      end)
    end)
  end)

  local p = afar.here

  it("gets fds also from a process that shares its table", function()
    local q = p:clone(p.machine.sys.C.CLONE_FILES)
    local from, to = p:pipe2()
    local child = q:exec { "sh", "-c", 'echo "$1 ok"', "sh", to, stdout = to }
    to:close()
    assert.equal(("%d ok\n"):format(to.number), from:read())
    child:check()
    from:close()
  end)

  it("has the environment that was meant for it, of several at once", function()
    local got = {}
    afar.nursery(function(n)
      for i = 1, 12 do
        n:spawn(function() got[i] = p:run({ "sh", "-c", "echo $WHICH", env = { WHICH = i } }).stdout end)
      end
    end)
    for i = 1, 12 do assert.equal(i .. "\n", got[i]) end
  end)

  it("is refused what can't be passed, before anything is done", function()
    local fd = p:open "/etc/hostname"
    local q = p:fork()
    local many = {}
    for i = 1, 8 do many[i] = fd end
    assert.equal(3, q:inherit(fd):dup2(3).number)
    for expected, spec in pairs {
      ["listen_fds: 8 fds; 7 is the most here"] = { "true", listen_fds = many },
      ["fd 3 can't keep its number: listen_fds takes those from 3 to 4"] = { "true", 3, keep = { 3 }, listen_fds = { 1, 2 } },
      ["names must be a list with a name for each fd"] = { "true", listen_fds = { fd, names = {} } },
      ['"a:b" is no name for a socket'] = { "true", listen_fds = { fd, names = { "a:b" } } },
      ["listen_fds: a list of fds was expected"] = { "true", listen_fds = fd },
      ["argument 1 is a table, not a string"] = { fd },
      ["argument 2 is a table, not a string"] = { "true", {} },
      ["listen_fds: an fd was expected, not string"] = { "true", listen_fds = { "x" } },
      ["the fd belongs to fd table"] = { "true", q:inherit(fd) },
    } do
      assert.matches(expected, failure(p.run, p, spec))
    end
    q:exit()
    fd:close()
    assert.matches("was closed before", failure(p.run, p, { "true", fd }))
  end)
end)
