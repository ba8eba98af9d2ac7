-- examples/daemons.lua: nobody who connects is refused while the script is killed and started again, nor while the server is.

local afar = require "afar"
local ports = require "spec.support.ports"
local probe = require "spec.support.probe"

local program = os.getenv "AFAR" or "build/afar"

describe("examples/daemons.lua", function()
  local dir, port

  before_each(function() dir = afar.here:mkdtemp "/tmp/daemons-XXXXXX" end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

  --- Starts it; `lines` is what it has said.
  local function start()
    local from, to = afar.here:pipe2()
    local p = afar.here:fork()
    local child = p:exec { program, "examples/daemons.lua", dir, stdout = p:inherit(to), env = { OFFSET = tostring(port - 8080) } }
    to:close()
    return child, from
  end

  local function read_until(from, pattern)
    local text = ""
    while not text:find(pattern) do
      local part = from:read()
      assert(part ~= "", "it ended after " .. text)
      text = text .. part
    end
    return text
  end

  --- What a server on that port answers, until it closes.
  local function ask(to, question)
    local s = afar.here:socket("AF_INET", "SOCK_STREAM")
    s:connect("127.0.0.1:" .. to)
    s:write(question)
    local text = ""
    repeat
      local part = s:read()
      text = text .. part
    until part == ""
    s:close()
    return text
  end

  local function ask_web() return ask(port, "GET / HTTP/1.0\r\n\r\n"):match "\r\n\r\n(.*)$" end
  local function ask_redis(command) return ask(port - 8080 + 6379, command .. "\r\nQUIT\r\n"):match "^(.-)%+OK\r\n$" end

  it("keeps its servers, and their sockets", function()
    for _, name in ipairs { "nginx", "redis-server" } do
      if not afar.try(afar.here.which, afar.here, name) then return pending(name .. " is not installed") end
    end
    repeat -- and another one for redis
      port = ports.free(1)[1]
    until port > 12000 and ports.is_free(port - 8080 + 6379)
    local script, from = start()
    assert.matches("made\tprocess", read_until(from, "started\tweb"))
    assert.is_true(probe.soon(function() return afar.try(ask_redis, "SET x 7") end))
    local asked, done = 0, false
    local function load(f, expected, ...)
      while not done do
        assert.equal(expected, f(...))
        asked = asked + 1
      end
    end
    afar.nursery(function(n)
      n:spawn(load, ask_web, "hello\n")
      n:spawn(load, ask_redis, "$1\r\n7\r\n", "GET x")
      for i = 1, 3 do
        afar.sleep(0.1)
        script:kill "SIGKILL"
        script:wait()
        from:close()
        afar.sleep(0.1)
        script, from = start()
        local said = read_until(from, "kept\tweb")
        assert.matches("found\tprocess", said)
        if i == 2 then
          local pid = afar.here:read_file(dir .. "/nginx.pid"):match "%d+"
          afar.here:kill(tonumber(pid), "SIGQUIT") -- it answers first whom it has accepted
          read_until(from, "started\tweb")
        end
      end
      done = true
    end)
    assert.is_true(asked > 10)
    assert.is_true(probe.soon(function() return afar.here:stat(dir .. "/job.log").st_size > 20 end))
    assert.equal("+OK\r\n", ask_redis "SET x 8")
    assert.equal("", ask(port - 8080 + 6379, "SHUTDOWN\r\n")) -- it is started again, with what it had
    assert.is_true(probe.soon(function() return afar.try(ask_redis, "GET x") == "$1\r\n8\r\n" end))
    script:kill "SIGKILL"
    script:wait()
    from:close()
    afar.here:run { program, "examples/daemons.lua", dir, "stop" }
  end)
end)
