-- What the real ssh says, and what we make of it.

local explain = require "afar.ssh.explain"
local sshd = require "spec.support.sshd"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

describe("explaining why ssh failed", function()
  local server

  setup(function() server = sshd.start(1) end)
  teardown(function() server:stop() end)

  -- Runs `ssh ARGS COMMAND`; what explain says of it, with "there" as the destination.
  local function failure(args, command)
    local out, err = server.dir .. "/out", server.dir .. "/err"
    local line = "ssh -T -F $CONFIG %s '%s' </dev/null >%s 2>%s"
    local _, status = server:output(line:format(args, command or "true", out, err))
    local what, message, hint = explain(status, read(err), read(out), "there")
    assert.is_nil(message:find "[\r\n]")
    assert.equal("ssh there: ", message:sub(1, 11))
    return what, message, hint
  end

  it("tells an unknown host", function()
    local what, message = failure "-o HostName=nosuch.invalid afar1"
    assert.equal("unknown_host", what)
    assert.matches("the host is unknown %(ssh: Could not resolve hostname nosuch.invalid: ", message)
  end)

  it("tells a refused connection", function()
    local what, message = failure "afar-closed"
    assert.equal("refused", what)
    assert.equal("ssh there: the connection was refused (ssh: connect to host 127.0.0.1 port 1: Connection refused)", message)
  end)

  it("tells that there is no answer", function()
    local what, message = failure "-o ConnectTimeout=1 -o ProxyCommand='sleep 5' afar1"
    assert.equal("timeout", what)
    assert.matches("there was no answer in time %(Connection timed out", message)
  end)

  it("tells an unknown host key", function()
    local what, message, hint = failure "-o UserKnownHostsFile=/dev/null afar1"
    assert.equal("host_key", what)
    assert.matches("its host key is not known %(No .* host key is known for afar", message)
    assert.matches("ssh there$", hint)
    assert.equal("host_key", (failure "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=ask afar1"))
  end)

  it("tells a changed host key", function()
    server:output("echo afar $(cut -d' ' -f1,2 " .. server.dir .. "/key-refused.pub) >" .. server.dir .. "/other")
    local what, message = failure("-o UserKnownHostsFile=" .. server.dir .. "/other afar1")
    assert.equal("host_key_changed", what)
    assert.matches("%(Offending .* key in .*/other:1%)$", message)
  end)

  it("tells a refused key", function()
    local what, message, hint = failure "afar-refused"
    assert.equal("denied", what)
    assert.matches("the server accepted no key %(.*Permission denied %(publickey%)", message)
    assert.equal("see what is offered: ssh -v there", hint)
  end)

  it("tells too many keys", function()
    local keys = {}
    for i = 1, 8 do
      local key = ("%s/many%d"):format(server.dir, i)
      server:output("ssh-keygen -q -t ed25519 -N '' -f " .. key)
      keys[i] = "-o IdentityFile=" .. key
    end
    assert.equal("too_many", (failure(table.concat(keys, " ") .. " afar-refused")))
  end)

  it("tells an account without a shell", function()
    local what, message = failure "afar-noshell"
    assert.equal("no_shell", what)
    assert.matches("%(This account is currently not available.%)$", message)
    assert.equal("no_shell", (explain(1, "", "This service allows sftp connections only.\r\n", "there")))
    assert.equal("no_shell", (failure("afar-dash", "exec /nonexistent/bin/sh -c true")))
    assert.equal("no_shell", (failure("afar-fish", "exec /nonexistent/bin/sh -c true")))
    assert.equal("no_shell", (failure("afar-tcsh", "exec /nonexistent/bin/sh -c true")))
  end)

  it("tells a connection that was cut", function()
    local what, message = failure("afar1", "kill -9 $PPID; sleep 5")
    assert.equal("closed", what)
    assert.matches("closed by remote host", message)
    assert.equal("closed", (failure "-o ProxyCommand=true afar1"))
  end)

  it("tells what a host on the way said", function()
    assert.equal("refused", (failure "-J afar-closed afar1"))
    assert.equal("denied", (failure "-J afar-refused afar1"))
  end)

  it("tells a client that was killed", function()
    local what, message = explain(137, "", "", "there")
    assert.equal("closed", what)
    assert.equal("ssh there: ssh was killed by signal 9", message)
  end)

  it("tells options that ssh doesn't accept", function()
    local what, message = failure "-o Compresion=yes afar1"
    assert.equal("config", what)
    assert.matches("Bad configuration option: compresion", message)
    assert.equal("config", (failure "-F /nonexistent afar1"))
    assert.equal("config", (failure "-o ConnectTimeout=soon afar1"))
  end)

  it("tells a server with which ssh has nothing in common", function()
    assert.equal("algorithms", (failure "-o HostKeyAlgorithms=ecdsa-sha2-nistp256 afar1"))
  end)

  it("tells that there is no ssh", function()
    local text, status = server:output "PATH=/nonexistent; ssh afar1"
    assert.equal("no_client", (explain(status, text, "", "there")))
    assert.equal("no_client", (explain(127, "", "", "there")))
  end)

  it("shows the last line of what it doesn't know, and of a far side that talks of something else", function()
    local what, message = explain(3, "Welcome\r\nsomething odd\r\n\r\n", "", "there")
    assert.equal("unknown", what)
    assert.equal("ssh there: ssh ended with status 3, and no process came of it (something odd)", message)
    what, message = failure("afar1", "echo Good morning; exit 0")
    assert.equal("unknown", what)
    assert.equal("ssh there: ssh ended with status 0, and no process came of it (Good morning)", message)
  end)

  it("doesn't take what a far side prints for what ssh says", function()
    assert.equal("unknown", (failure("afar1", "echo Connection refused; exit 1")))
  end)
end)
