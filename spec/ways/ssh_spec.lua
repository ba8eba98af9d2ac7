-- What ssh can do besides keys: passwords and questions answered by a function, one connection for several, hosts on the way, another server than
-- OpenSSH's.

local afar = require "afar"
local house = require "spec.support.house"
local ports = require "spec.support.ports"
local sshd = require "spec.support.sshd"

local here = afar.here

describe("ssh", function()
  local server
  setup(function() server = sshd.start(3) end)
  teardown(function() server:stop() end)

  it("goes over other hosts", function()
    local far = here:ssh("afar1", { config = server.config, jump = { "afar2", "afar3" } })
    assert.equal("through\n", far:run({ "echo", "through" }).stdout)
    far:disconnect()
  end)

  it("shares one connection among several", function()
    local path = server.dir .. "/c"
    local options = { config = server.config, control = path, options = { ControlPersist = "yes" } }
    local first = here:ssh("afar1", options)
    local second = here:ssh("afar1", options)
    local connection = first.environ.SSH_CONNECTION
    assert.equal(connection, second.environ.SSH_CONNECTION)
    first:disconnect()
    assert.equal("still\n", second:run({ "echo", "still" }).stdout)
    second:disconnect()
    local third = here:ssh("afar1", options)
    assert.equal(connection, third.environ.SSH_CONNECTION)
    third:disconnect()
    here:run { "ssh", "-F", server.config, "-o", "ControlPath=" .. path, "-O", "exit", "afar1" }
  end)

  it("refuses a host on the way that is none", function()
    for _, jump in ipairs { "-oProxyCommand=x", { "a b" }, "" } do
      assert.is_false((pcall(here.ssh, here, "afar1", { config = server.config, jump = jump })))
    end
  end)
end)

describe("ssh to a server that asks", function()
  if house.missing() then return pending(house.missing()) end
  local root, port, keys

  --- Starts what shall listen there, and waits until it does.
  local function serve(spec)
    local child = root:fork()
    spec.stdout, spec.stderr = "null", "null"
    child:exec(spec)
    afar.timeout(60, function()
      while not root:run({ "sh", "-c", "ss -tln | grep -q :" .. port, check = false }).status.ok do afar.sleep(0.05) end
    end)
  end

  local function options(more)
    local o = {
      port = port, user = "alice", config = "/dev/null",
      options = { StrictHostKeyChecking = "no", UserKnownHostsFile = "/dev/null", LogLevel = "ERROR", IdentityAgent = "none" },
    }
    for key, value in pairs(more or {}) do
      if key == "options" then
        for name, one in pairs(value) do o.options[name] = one end
      else
        o[key] = value
      end
    end
    return o
  end

  before_each(function()
    root = house.new()
    house.add_user(root, "alice", "open sesame")
    port = ports.free(1)[1]
    keys = root:mkdtemp()
  end)
  after_each(function()
    root:remove_tree(keys)
    root:disconnect()
  end)

  local function openssh()
    root:run { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys .. "/host" }
    serve {
      "/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", port, "-h", keys .. "/host", "-o", "ListenAddress=127.0.0.1", "-o", "UsePAM=yes",
      "-o", "PidFile=none",
    }
  end

  it("gets the password from a function, also by a second hop", function()
    openssh()
    local asked = {}
    local function password(question, before)
      asked[#asked + 1] = question
      return before == 0 and "wrong" or "open sesame"
    end
    local far = here:ssh("127.0.0.1", options { password = password })
    assert.equal("alice\n", far:run({ "id", "-un" }).stdout)
    assert.equal(2, #asked)
    assert.matches("[Pp]assword: $", asked[1])
    local further = far:ssh("127.0.0.1", options { password = "open sesame" })
    assert.equal("alice\n", further:run({ "id", "-un" }).stdout)
    further:disconnect()
    far:disconnect()
  end)

  it("says that the password is wrong", function()
    openssh()
    local ok, err = pcall(here.ssh, here, "127.0.0.1", options { password = "wrong" })
    assert.is_false(ok)
    assert.equal("denied", err.name)
  end)

  it("gets an answer whether the key is right", function()
    openssh()
    local asked
    local function answer(question)
      if question:find "continue connecting" then
        asked = question
        return "yes"
      end
      return "open sesame"
    end
    local far = here:ssh("127.0.0.1", options { password = answer, options = { StrictHostKeyChecking = "ask" } })
    assert.matches("yes/no", asked)
    far:disconnect()
  end)

  it("is no matter of whose server it is: dropbear", function()
    if not here:run({ "sh", "-c", "command -v dropbear", check = false }).status.ok then return pending "dropbear isn't installed" end
    root:run { "dropbearkey", "-t", "ed25519", "-f", keys .. "/host" }
    serve { "dropbear", "-F", "-E", "-p", "127.0.0.1:" .. port, "-r", keys .. "/host", "-P", keys .. "/pid" }
    local far = here:ssh("127.0.0.1", options { password = "open sesame" })
    assert.equal("alice\n", far:run({ "id", "-un" }).stdout)
    local bytes = ("\0\1\2\3~.\r\n~.\255"):rep(10000)
    assert.equal(bytes, far:run({ "cat", stdin = bytes }).stdout)
    far:disconnect()
  end)
end)
