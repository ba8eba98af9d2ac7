-- Many children of one process, all of them alive and awaited.

local afar = require "afar"
local probe = require "spec.support.probe"
local requests = require "afar.requests"

local POLLIN = 1

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
    assert.is_true(probe.fds(kid) < probe.fds(h.pid))
    kid:exit(0)
    for _, fd in ipairs(high) do fd:close() end
  end)
end)

describe("ten thousand children", function()
  local h = afar.here

  --- As many as asked for, in families; or the error that ends it.
  local function grow(families, each)
    local parents, kids, count, err = {}, {}, 0, nil
    local ok, why = pcall(afar.nursery, function(n)
      for i = 1, families do parents[i] = h:fork() end
      for i = 1, families do
        n:spawn(function()
          for _ = 1, each do
            local kid = parents[i]:fork()
            count = count + 1
            kids[count] = kid
          end
        end)
      end
    end)
    if not ok then err = why end
    return parents, kids, err
  end

  it("live at once and answer; where a limit comes before, the error says which", function()
    local most = (os.getenv "AFAR" or ""):find "asan" and 2000 or 10000 -- sanitizers take long
    local before = probe.holds(h)
    local parents, kids, err = grow(20, most / 20)
    if err then
      assert.is_true(err.name == "EMFILE" or err.name == "EAGAIN", tostring(err))
      assert.is_string(err.hint)
    else
      assert.equal(most, #kids)
    end
    assert.is_true(#kids >= 200)
    local seen = {}
    for _, kid in ipairs(kids) do
      assert.equal(kid.pid, kid:getpid())
      seen[kid.pid] = true
    end
    local different = 0
    for _ in pairs(seen) do different = different + 1 end
    assert.equal(#kids, different)
    for _, parent in ipairs(parents) do parent:exit(0) end
    assert.is_true(probe.soon(function() return not probe.runs(kids[#kids].pid) end, 120))
    assert.is_true(probe.soon(function() return not kids[1]:is_alive() end, 120))
    parents, kids, seen = nil, nil, nil -- luacheck: ignore
    assert.equal(before.fds, probe.holds(h, before).fds)
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
    afar.timeout(60, afar.nursery, function(n)
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
    assert.equal("x", afar.timeout(60, a.read, a))
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
    assert.same(before, probe.holds(h, before))
  end)

  it("for writers on full pipes leave room for the readers that they wait for", function()
    local size, got = 1024 * 1024, {}
    afar.timeout(60, afar.nursery, function(n)
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

  it("for which there is no room yet, once given up, do what is to be done in any case, and no more", function()
    local p = afar.here:fork()
    local from = p:pipe2()
    local marks, mark = p:pipe2()
    local letters = p:ptr "abc"
    local waits = {}
    local function hold(more)
      local r = requests.record(p)
      r.direct = true -- not with the others, outside of the stub
      waits[#waits + 1] = { r = r, hold = r:hold(from.number, POLLIN), more = more and more(r) }
      return r:submit()
    end
    local function write(r, i, when) return r:call("write", when, mark.number, letters.address + i - 1, 1) end
    for _ = 1, p.machine.hello.hold_slots do hold() end
    hold(function(r) return { write(r, 1), write(r, 2, { always = true }), write(r, 3, { if_failed = r:value(-1) }) } end)
    hold(function(r) return { write(r, 1) } end)
    for i = #waits, 1, -1 do waits[i].r:end_hold() end
    for _, wait in ipairs(waits) do
      assert.is_nil(wait.r:wait())
      assert.equal(-p.machine.sys.C.ECANCELED, wait.r:result(wait.hold))
    end
    mark:close()
    assert.equal("bc", marks:read())
    p:exit()
  end)

  it("that can't begin tell so, also where whoever came first has given up", function()
    local watch = require "afar.watch"
    local p = afar.here:fork()
    local from = p:pipe2()
    p:prlimit(0, "RLIMIT_NOFILE", { soft = 0 })
    assert.is_true(select(2, pcall(afar.timeout, 0, watch.wait, p, from.number, 1)).timeout)
    afar.sleep(0.05)
    assert.equal("EMFILE", select(2, pcall(watch.wait, p, from.number, 1)).name)
    p:exit()
  end)
end)
