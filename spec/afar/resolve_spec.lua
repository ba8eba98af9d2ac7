-- Names are resolved where the process is.

local afar = require "afar"
local ways = require "spec.support.ways"

local failure = require("spec.support.raised").err

describe("getaddrinfo", function()
  ways.each(function(way)
    it("gives addresses with ports, to connect to", function()
      way:with_fork(function(p)
        local list = p:getaddrinfo("localhost", 80, { family = "AF_INET" })
        assert.equal("127.0.0.1:80", tostring(list[1]))
        local s, l = p:socket "AF_INET", p:socket "AF_INET"
        local bound = l:bind(p:getaddrinfo("localhost", nil, { family = "AF_INET" })[1])
        l:listen()
        s:connect(bound)
      end)
    end)
  end)

  local p = afar.here

  it("looks services up by name and protocol", function()
    assert.equal(22, p:getaddrinfo("127.0.0.1", "ssh")[1].port)
    assert.equal(69, p:getaddrinfo("127.0.0.1", "tftp", { socktype = "SOCK_DGRAM" })[1].port)
    assert.equal("EAI_SERVICE", failure(p.getaddrinfo, p, "127.0.0.1", "no-such-service").name)
  end)

  it("runs nothing for numbers", function()
    local quiet = p:fork()
    quiet.environ.PATH = "/nonexistent"
    assert.equal("127.0.0.1:80", tostring(quiet:getaddrinfo("127.0.0.1", "80")[1]))
    assert.equal("[fe80::1%3]:0", tostring(quiet:getaddrinfo("fe80::1%3")[1]))
    local err = failure(quiet.getaddrinfo, quiet, "localhost", 80)
    assert.equal("ENOENT", err.name)
    assert.matches("getent%(1%), which is not there", tostring(err))
    quiet:exit()
  end)

  it("says what isn't known", function()
    local err = failure(p.getaddrinfo, p, "no-such-host.invalid", 80)
    assert.equal("EAI_NONAME", err.name)
    assert.matches('getaddrinfo%("no%-such%-host.invalid", 80%) in process .*no address', tostring(err))
    assert.equal("EAI_NONAME", failure(p.getaddrinfo, p, "127.0.0.1", 80, { family = "AF_INET6" }).name)
    assert.equal("EAI_NONAME", failure(p.getaddrinfo, p, "-x").name)
  end)

  it("refuses bad input", function()
    for expected, args in pairs {
      ["a host's name was expected"] = { nil },
      ["65536 is no port"] = { "localhost", 65536 },
      ["%-1 is no port"] = { "localhost", -1 },
      ["the service is a name or a number"] = { "localhost", {} },
    } do
      assert.matches(expected, tostring(failure(p.getaddrinfo, p, args[1], args[2])))
    end
  end)
end)
