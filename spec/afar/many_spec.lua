-- Many children of one process, all of them alive and awaited.

local afar = require "afar"
local probe = require "spec.support.probe"

describe("many children", function()
  local h = afar.here

  it("can be more than the fds below a root's own", function()
    local kids = {}
    for i = 1, 80 do kids[i] = h:fork() end
    for _, kid in ipairs(kids) do
      assert.equal(kid.pid, kid:getpid())
      kid:exit(0)
    end
  end)

  it("leave out what is the root's own, and keep what the script holds, wherever it is", function()
    local high = {}
    for i = 1, 70 do high[i] = h:open "/etc/hosts" end
    local kid = h:fork()
    assert.equal("", kid:inherit(high[70]):read(0))
    assert.is_true(high[70].number > 64)
    assert.is_true(probe.fds(kid.pid) < probe.fds(h.pid))
    kid:exit(0)
    for _, fd in ipairs(high) do fd:close() end
  end)
end)

describe("many waits", function()
  local h = afar.here

  local function sleepers(count)
    local kids = {}
    for i = 1, count do kids[i] = h:fork():exec { "sleep", "100" } end
    return kids
  end

  it("for children hold up nobody else", function()
    local kids = sleepers(40)
    local from, to = h:pipe2()
    local got
    afar.timeout(5, afar.nursery, function(n)
      for _, kid in ipairs(kids) do n:spawn(kid.wait, kid) end
      afar.sleep(0.05)
      n:spawn(function() got = from:read() end)
      afar.sleep(0.05)
      to:write "x"
      assert.is_true(probe.soon(function() return got end))
      for i = #kids, 1, -1 do kids[i]:kill "SIGKILL" end
    end)
    assert.equal("x", got)
    for _, kid in ipairs(kids) do assert.equal("SIGKILL", kid.status.signal) end
    from:close()
    to:close()
  end)

  it("for children that nobody holds any more leave no zombie", function()
    local pids = {}
    for i, kid in ipairs(sleepers(40)) do pids[i] = kid.pid end
    collectgarbage()
    collectgarbage()
    h:getpid()
    local a, b = h:pipe2()
    b:write "x"
    assert.equal("x", afar.timeout(5, a.read, a))
    a:close()
    b:close()
    for _, pid in ipairs(pids) do h:kill(pid, "SIGKILL") end
    for _, pid in ipairs(pids) do
      assert.is_true(probe.soon(function() return probe.status(pid, "State") == nil end))
    end
  end)

  it("for fds can be cancelled, and end when their fd is closed", function()
    local pipes, errors = {}, 0
    for i = 1, 40 do pipes[i] = { h:pipe2() } end
    local before
    for _ = 1, 3 do
      before = before or probe.holds(h)
      pcall(afar.timeout, 0.1, afar.nursery, function(n)
        for _, pipe in ipairs(pipes) do n:spawn(function() pipe[1]:read() end) end
      end)
    end
    assert.equal("y", (function()
      pipes[40][2]:write "y"
      return pipes[40][1]:read()
    end)())
    afar.nursery(function(n)
      for _, pipe in ipairs(pipes) do
        n:spawn(function()
          local ok, err = afar.try(pipe[1].read, pipe[1])
          if not ok and afar.is_error(err, "EBADF") then errors = errors + 1 end
        end)
      end
      afar.sleep(0.1)
      for _, pipe in ipairs(pipes) do pipe[1]:close() end
    end)
    assert.equal(40, errors)
    for _, pipe in ipairs(pipes) do pipe[2]:close() end
    local after = probe.holds(h)
    assert.equal(before.memory, after.memory)
  end)

  it("for writers on full pipes leave room for the readers that they wait for", function()
    local size, got = 1024 * 1024, {}
    afar.timeout(20, afar.nursery, function(n)
      for i = 1, 20 do
        local from, to = h:pipe2()
        n:spawn(function()
          to:write(("x"):rep(size))
          to:close()
        end)
        n:spawn(function()
          local sum = 0
          afar.sleep(0.2)
          repeat
            local data = from:read()
            sum = sum + #data
          until data == ""
          got[i] = sum
          from:close()
        end)
      end
    end)
    for i = 1, 20 do assert.equal(size, got[i]) end
  end)
end)
