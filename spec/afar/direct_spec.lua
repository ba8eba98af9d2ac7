--- What is there at once is read and written by one request, in processes that share memory with the host.

local afar = require "afar"
local probe = require "spec.support.probe"

local fails = require("spec.support.raised").err

describe("what a process on this machine reads and writes at once", function()
  local p

  before_each(function() p = afar.here:fork() end)
  after_each(function() p:exit(0) end)

  --- How many system calls `f(...)` makes in the process.
  local function calls(f, ...)
    local before = p:tally()
    f(...)
    return p:tally() - before
  end

  it("takes one call", function()
    local from, to = p:pipe2()
    local a, b = p:socketpair()
    local file = p:open("/etc/services")
    assert.equal(1, calls(function() to:write "some text" end))
    assert.equal(1, calls(function() assert.equal("some", from:read(4)) end))
    assert.equal(1, calls(function() a:write "more" end))
    assert.equal(1, calls(function() assert.equal("more", b:read()) end))
    assert.equal(1, calls(function() assert.equal(100, #file:read(100)) end))
    assert.equal(1, calls(function() assert.equal(50, #file:pread(50, 100)) end))
  end)

  it("gives the end as such, and errors with the call, the fd and its number of bytes", function()
    local from, to = p:pipe2()
    to:close()
    assert.equal("", from:read(10))
    local file = p:open("/etc/services", "O_RDONLY")
    assert.equal("", file:pread(10, 1e9))
    local err = fails(file.write, file, "text")
    assert.equal("EBADF", err.name)
    assert.truthy(tostring(err):find(("write(fd %d, \"text\")"):format(file.number), 1, true), tostring(err))
    assert.equal("EINVAL", fails(file.pread, file, 10, -5).name)
    from:close()
    from, to = p:pipe2()
    from:close()
    assert.equal("EPIPE", fails(to.write, to, "x").name)
    assert.truthy(tostring(fails(to.write, from, "x")):find "closed before")
  end)

  it("is told of a connection that was reset, once", function()
    local listener = p:socket "AF_INET"
    local address = listener:bind "127.0.0.1:0"
    listener:listen()
    local client = p:socket "AF_INET"
    client:connect(address)
    local served = listener:accept()
    served:setsockopt("SO_LINGER", 0)
    served:close()
    assert.equal("ECONNRESET", fails(client.read, client, 10).name)
    assert.equal("", client:read(10))
  end)

  it("may also come later, to each of many who wait", function()
    local pipes, got = {}, 0
    for i = 1, 150 do pipes[i] = { p:pipe2() } end
    afar.nursery(function(n)
      for _, pipe in ipairs(pipes) do
        n:spawn(function()
          for round = 1, 3 do
            local text = pipe[1]:read(1)
            got = got + (text == tostring(round) and 1 or 0)
          end
        end)
      end
      for round = 1, 3 do
        afar.sleep(round == 2 and 0 or 0.02)
        for i = #pipes, 1, -1 do pipes[i][2]:write(tostring(round)) end
      end
    end)
    assert.equal(3 * 150, got)
  end)

  it("is no memory of anybody else when the process ends meanwhile", function()
    local witness = afar.here:fork()
    local used = p.space.heap:used()
    local from = p:pipe2()
    local err
    afar.nursery(function(n)
      n:spawn(function() err = select(2, pcall(from.read, from, 100000)) end)
      afar.sleep(0.02)
      p.child:kill "SIGKILL"
    end)
    assert.is_true(err.sent, tostring(err))
    assert.is_true(probe.soon(function() return p.space.heap:used() <= used end))
    witness:exit(0)
    p = afar.here:fork()
  end)
end)
