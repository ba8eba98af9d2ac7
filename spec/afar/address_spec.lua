-- Addresses: from text and tables, to and from the kernel's structures.

local afar = require "afar"
local address = require "afar.address"
local inet = require "afar.inet"
local sys = require "afar.sys"

local machines = { sys.machine "x86_64", sys.machine "aarch64" }

local function round_trip(m, value) return address.unpack(m, address.pack(m, value)) end

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("an address", function()
  for _, m in ipairs(machines) do
    it("of each family goes to the kernel's structure and back, on " .. m.name, function()
      for _, text in ipairs {
        "127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80", "[fe80::1%2]:80", "[::]:0", "[::ffff:1.2.3.4]:5",
        "[2001:db8::1:0:0:1]:9", "/run/x.sock", "./x.sock", "../x", "@abstract", "vsock:2:1234", "vsock:4294967295:1",
        "netlink:0:0x11", "packet:2:0x800", "packet:2:0x800:52:54:00:12:34:56",
      } do
        assert.equal(text, tostring(afar.address(text)))
        assert.equal(afar.address(text), round_trip(m, text), text)
        assert.equal(text, tostring(round_trip(m, text)))
      end
    end)

    it("has the bytes that the kernel defines, on " .. m.name, function()
      assert.equal("02000050" .. "7f000001" .. ("00"):rep(8), hex(address.pack(m, "127.0.0.1:80")))
      assert.equal("0a001f90" .. "01020304" .. ("00"):rep(15) .. "01" .. "05000000", hex(address.pack(m, {
        family = "AF_INET6", addr = "::1", port = 8080, flowinfo = 0x01020304, scope_id = 5,
      })))
      assert.equal("0100" .. "2f61" .. "00", hex(address.pack(m, "/a")))
      assert.equal("0100" .. "00" .. "61", hex(address.pack(m, "@a")))
      assert.equal("0100", hex(address.pack(m, { family = "AF_UNIX" })))
      assert.equal("10000000" .. "07000000" .. "11000000", hex(address.pack(m, "netlink:7:0x11")))
      assert.equal("11000800" .. "02000000" .. "000000065254001234560000", hex(address.pack(m, "packet:2:0x800:52:54:00:12:34:56")))
    end)
  end

  it("keeps its fields, in the host's byte order", function()
    local a = round_trip(machines[1], { addr = "10.0.0.1", port = 8080 })
    assert.same({ family = "AF_INET", addr = "10.0.0.1", port = 8080 }, { family = a.family, addr = a.addr, port = a.port })
    a = round_trip(machines[1], { addr = "fe80:0:0:0::9", port = 1, scope_id = 3, flowinfo = 9 })
    assert.equal("AF_INET6", a.family)
    assert.equal("fe80::9", a.addr)
    assert.equal(3, a.scope_id)
    assert.equal(9, a.flowinfo)
    assert.equal(7, round_trip(machines[1], { cid = 3, port = 7 }).port)
  end)

  it("of a unix socket keeps its length, up to 107 bytes, and any byte of an abstract name", function()
    local path = "/" .. ("x"):rep(106)
    assert.equal(2 + 107 + 1, #address.pack(machines[1], path))
    assert.equal(path, round_trip(machines[1], path).path)
    local name = "a\0b" .. ("\255"):rep(104)
    assert.equal(name, round_trip(machines[1], { abstract = name }).abstract)
    assert.equal("(unnamed)", tostring(round_trip(machines[1], { family = "AF_UNIX" })))
    assert.equal("(unnamed)", tostring(address.unpack(machines[1], "\1\0")))
  end)

  it("of a family that isn't known keeps its bytes", function()
    local a = address.unpack(machines[1], "\38\0salg")
    assert.equal(38, a.family)
    assert.equal("salg", a.data)
    assert.equal("\38\0salg", address.pack(machines[1], a))
    assert.equal("\38\0abc", address.pack(machines[1], { family = 38, data = "abc" }))
    assert.is_nil(address.unpack(machines[1], ""))
  end)

  it("equals another one when the kernel takes them for the same", function()
    assert.equal(afar.address "[0:0::1]:80", afar.address { addr = "::1", port = 80 })
    assert.not_equal(afar.address "127.0.0.1:80", afar.address "127.0.0.1:81")
    assert.not_equal(afar.address "/x", afar.address "@/x")
  end)

  local bad = {
    { "localhost:80", 'address: "localhost:80" is none' },
    { "localhost:80", "getaddrinfo" },
    { "127.0.0.1", "is none" },
    { "127.0.0.1:65536", "port must be a whole number from 0 to 65535, not 65536" },
    { "127.0.0.01:1", "127.0.0.01 is no IPv4 address" },
    { "1.2.3.256:1", "is no IPv4 address" },
    { "[::1::]:1", "is no IPv6 address" },
    { "[1:2:3:4:5:6:7:8:9]:1", "is no IPv6 address" },
    { "", "is none" },
    { "@" .. ("x"):rep(108), "the abstract name has 108 bytes; 107 is the most" },
    { { family = "AF_UNIX", path = "a\0b" }, "NUL byte" },
    { { family = "AF_UNIX", path = "" }, "path is empty" },
    { { path = "/x", abstract = "x" }, "not both" },
    { { addr = "::1", prot = 1 }, 'has no "prot" %(did you mean "port"%?%)' },
    { { addr = "::1", port = 1.5 }, "port must be a whole number" },
    { { addr = "::1", port = "80" }, "port must be a whole number" },
    { { family = "AF_FOO" }, "there is no family AF_FOO" },
    { {}, "without a family" },
    { 80, "a string or a table was expected, not number" },
    { { family = "AF_PACKET", addr = "xx" }, "xx is no hardware address" },
    { { cid = -1 }, "cid must be" },
  }

  for _, case in ipairs(bad) do
    it(("is refused: %s"):format(case[2]), function()
      local ok, err = pcall(address.of, case[1])
      assert.is_false(ok)
      assert.matches(case[2], err)
    end)
  end

  it("whose path is too long can't be packed", function()
    local ok, err = pcall(address.pack, machines[1], "/" .. ("x"):rep(107))
    assert.is_false(ok)
    assert.matches("the path has 108 bytes; a socket's address takes 107", err)
  end)
end)

describe("the text of an IPv6 address", function()
  it("is the shortest, as RFC 5952 has it", function()
    for given, shown in pairs {
      ["2001:DB8:0:0:1:0:0:1"] = "2001:db8::1:0:0:1",
      ["0:0:0:0:0:0:0:0"] = "::",
      ["1:0:2:3:4:5:6:7"] = "1:0:2:3:4:5:6:7",
      ["1:0:0:2:0:0:0:3"] = "1:0:0:2::3",
      ["1:2:3:4:5:6:0:0"] = "1:2:3:4:5:6::",
      ["::1.2.3.4"] = "::102:304",
      ["::ffff:1.2.3.4"] = "::ffff:1.2.3.4",
    } do
      assert.equal(shown, inet.v6_text(inet.v6(given)), given)
    end
  end)

  it("is none when it says too much or too little", function()
    for _, text in ipairs { "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8::", ":::", "1::2::3", "g::", "12345::", "::1.2.3", "1.2.3.4::", ":1::", "" } do
      assert.is_nil(inet.v6(text), text)
    end
  end)
end)
