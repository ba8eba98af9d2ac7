-- How ssh is called: by itself, and as the real client understands it.

local argv = require "afar.ssh.argv"
local sshd = require "spec.support.sshd"

local OURS = "-o IgnoreUnknown=* -o RemoteCommand=none -o SessionType=default -o StdinNull=no -o ForkAfterAuthentication=no"

local function quote(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return table.concat(quoted, " ")
end

describe("the call of ssh", function()
  it("has the destination and the command behind all options", function()
    assert.equal("ssh -T " .. OURS .. " -- me@there exec true", table.concat(argv("me@there", nil, "exec true"), " "))
  end)

  it("has what the script asks for before ours", function()
    local words = argv("there", { config = "/c", user = "me", port = 22, identity = "/k", options = { "A=b", Compression = true, B = 3 } }, "x")
    assert.equal("ssh -T -F /c -l me -p 22 -i /k -o A=b -o B=3 -o Compression=yes " .. OURS .. " -- there x", table.concat(words, " "))
  end)

  it("refuses a destination that ssh would take for something else", function()
    for destination, why in pairs { ["-oProxyCommand=x"] = "begins with", ["a b"] = "blank", ["a\n"] = "blank", [""] = "must be a string" } do
      assert.error_matches(function() argv(destination, {}, "x") end, why)
    end
    assert.error_matches(function() argv(nil, {}, "x") end, "must be a string")
  end)

  it("refuses an option that there isn't", function()
    assert.error_matches(function() argv("there", { key = "/k" }, "x") end, 'there is no option "key"')
  end)

  describe("with a real server", function()
    local server

    setup(function() server = sshd.start(1) end)
    teardown(function() server:stop() end)

    local function run(opts, command, input, config, destination)
      opts.config = config or server.config
      return server:output(("printf '%s' | %s"):format(input or "", quote(argv(destination or "afar1", opts, command))))
    end

    -- A config in which the user has what suits a terminal.
    local function config_with(lines)
      local path = server.dir .. "/changed"
      local old, new = assert(io.open(server.config)), assert(io.open(path, "w"))
      new:write(lines, "\n", old:read "*a")
      old:close()
      new:close()
      return path
    end

    it("runs the command, and gives it stdin", function()
      assert.same({ "there", 0 }, { run({}, "exec cat", "there") })
      assert.same({ "", 7 }, { run({}, "exit 7") })
    end)

    it("takes user, port and identity", function()
      assert.matches("Permission denied", (run({}, "true", "", nil, "afar-refused")))
      assert.same({ "", 0 }, { run({ identity = server.dir .. "/key-plain" }, "true", "", nil, "afar-refused") })
      assert.matches("port 1:", (run({ port = 1 }, "true")))
      assert.matches("nobody@127.0.0.1: Permission denied", (run({ user = "nobody" }, "true")))
    end)

    it("isn't led astray by the user's config", function()
      local config = config_with "StdinNull yes\nRemoteCommand false\nSessionType none\nRequestTTY force\nForkAfterAuthentication yes"
      assert.same({ "there", 0 }, { run({}, "tty -s || exec cat", "there", config) })
    end)

    it("accepts a config that ignores what this ssh doesn't know", function()
      local config = config_with "IgnoreUnknown UseKeychain\nUseKeychain yes"
      assert.same({ "there", 0 }, { run({}, "exec cat", "there", config) })
    end)

    it("doesn't hide a wrong name of an option", function()
      assert.matches("Bad configuration option: compresion", (run({ options = { Compresion = true } }, "true")))
    end)
  end)
end)
