-- examples/daemons.lua: nobody who connects is refused while the script is killed and started again, nor while the server is.

local afar = require "afar"
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

  local function ask()
    local s = afar.here:socket("AF_INET", "SOCK_STREAM")
    s:connect("127.0.0.1:" .. port)
    s:write "GET / HTTP/1.0\r\n\r\n"
    local text = ""
    repeat
      local part = s:read()
      text = text .. part
    until part == ""
    s:close()
    return text:match "\r\n\r\n(.*)$"
  end

  it("keeps its servers, and their sockets", function()
    if not afar.try(afar.here.which, afar.here, "nginx") then return pending "nginx is not installed" end
    port = 18080 + afar.here.pid % 1000
    local script, from = start()
    assert.matches("made\tprocess", read_until(from, "started\tweb"))
    local asked, done = 0, false
    afar.nursery(function(n)
      n:spawn(function()
        while not done do
          assert.equal("hello\n", ask())
          asked = asked + 1
        end
      end)
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
    script:kill "SIGKILL"
    script:wait()
    from:close()
    afar.here:run { program, "examples/daemons.lua", dir, "stop" }
  end)
end)
