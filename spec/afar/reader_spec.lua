-- Reading by lines, sizes and delimiters.

local afar = require "afar"

local ways = require "spec.support.ways"

local failure = require("spec.support.raised").err

describe("a reader", function()
  local p = afar.here
  local a, b

  --- Of what comes in these pieces.
  local function reader(pieces, options)
    a, b = p:socketpair("AF_UNIX", "SOCK_SEQPACKET") -- keeps them apart
    for _, piece in ipairs(pieces) do b:write(piece) end
    b:close()
    return a:reader(options)
  end

  after_each(function()
    if a then a:close() end
  end)

  it("gives lines, however the bytes come", function()
    local r = reader { "one\nt", "w", "o", "\n", "\nthr", "ee" }
    assert.equal("one", r:line())
    assert.equal("two", r:line())
    assert.equal("", r:line())
    assert.equal("three", r:line())
    assert.is_nil(r:line())
    assert.is_nil(r:line())
  end)

  it("iterates over lines", function()
    a, b = p:pipe2()
    b:write "x\ny\n\nz"
    b:close()
    local lines = {}
    for line in a:lines() do lines[#lines + 1] = line end
    assert.same({ "x", "y", "", "z" }, lines)
  end)

  it("gives what is before a delimiter, also one that is cut in two", function()
    local r = reader { "head: 1\r", "\n\r", "\nbody", "\r\n\r" }
    assert.same({ "head: 1", true }, { r:until_ "\r\n\r\n" })
    assert.same({ "body\r\n\r", false }, { r:until_ "\r\n\r\n" })
    assert.is_nil(r:until_ "\r\n\r\n")
  end)

  it("gives exact sizes, and says what it had when the end comes before", function()
    local r = reader { "ab", "cdef", "ghi" }
    assert.equal("abc", r:exactly(3))
    assert.equal("", r:exactly(0))
    assert.equal("defg", r:exactly(4))
    local err = failure(r.exactly, r, 3)
    assert.equal("short", err.name)
    assert.equal("hi", err.data)
    assert.matches("the end came after 2 of 3 bytes", tostring(err))
    assert.is_nil(r:exactly(3))
    assert.equal("", r:exactly(0))
  end)

  it("gives what is there, what comes next, and all", function()
    local r = reader { "abc", "def", "ghi" }
    assert.equal("a", r:some(1))
    assert.equal("bcd", r:peek(3))
    assert.equal("bcdef", r:some())
    assert.equal("ghi", r:all())
    assert.equal("", r:some())
    assert.equal("", r:all())
    assert.equal("", r:peek(3))
  end)

  it("gives structures, counted bytes and netstrings", function()
    local r = reader { "\1\0\0", "\0\2\0\0\0", "\3\0abc", "\0\0", "3:x,y,0:,", "\2\0\0\0\0\0\0\0" }
    assert.equal(1, r:struct "uint32_t")
    assert.equal(2, r:struct "int32_t")
    assert.equal("abc", r:sized "uint16_t")
    assert.equal("", r:sized "uint16_t")
    assert.equal("x,y", r:netstring())
    assert.equal("", r:netstring())
    assert.equal(2, r:struct("linger").l_onoff)
    assert.is_nil(r:struct "linger")
    assert.is_nil(r:netstring())
    assert.is_nil(r:sized "uint16_t")
  end)

  it("says what is wrong with these", function()
    assert.equal("short", failure(function() reader({ "\5\0ab" }):sized "uint16_t" end).name)
    assert.equal("short", failure(function() reader({ "\5\0" }):sized "uint16_t" end).name)
    assert.equal("limit", failure(function() reader({ "\255\255\255\255" }):sized "uint32_t" end).name)
    assert.equal("format", failure(function() reader({ "abc" }):netstring() end).name)
    assert.equal("format", failure(function() reader({ "1:ab" }):netstring() end).name)
    assert.equal("short", failure(function() reader({ "5:ab" }):netstring() end).name)
    assert.equal("short", failure(function() reader({ "2:ab" }):netstring() end).name)
    assert.equal("limit", failure(function() reader({ ("x"):rep(100) }, { limit = 50 }):line() end).name)
  end)

  it("takes long lines in time that grows with their length", function()
    a, b = p:pipe2()
    local size = 8 * 1024 * 1024
    local line
    afar.nursery(function(n)
      n:spawn(function()
        b:write(("x"):rep(size) .. "\nend")
        b:close()
      end)
      local r = a:reader()
      line = r:line()
      assert.equal("end", r:line())
    end)
    assert.equal(size, #line)
  end)

  it("refuses bad input", function()
    local r = reader {}
    assert.matches("until_: a delimiter was expected", failure(r.until_, r, ""))
    assert.matches("until_: a delimiter was expected", failure(r.until_, r))
    assert.matches("exactly: a number of bytes was expected, not %-1", failure(r.exactly, r, -1))
    assert.matches("exactly: a number of bytes was expected, not x", failure(r.exactly, r, "x"))
  end)

  ways.each(function(way)
    it("reads a file ahead, and gives all of it", function()
      local path = way.root:run({ "mktemp" }).stdout:gsub("\n", "")
      way.root:run { "sh", "-c", 'seq 100000 > "$1"', "sh", path }
      way:with_fork(function(child)
        for _, q in ipairs { way.root, child } do
          local fd = q:open(path)
          local r, count, sum = fd:reader(), 0, 0
          for line in r:lines() do
            count, sum = count + 1, sum + tonumber(line)
          end
          assert.same({ 100000, 100000 * 100001 / 2 }, { count, sum })
          fd:lseek(0)
          assert.equal(588895, #fd:reader():all())
          fd:close()
        end
      end)
      way.root:unlink(path)
    end)

    it("may be closed amid a file that it reads ahead", function()
      local path = way.root:run({ "mktemp" }).stdout:gsub("\n", "")
      way.root:run { "sh", "-c", 'head -c 20000000 /dev/zero > "$1"', "sh", path }
      local function open_files()
        local count = 0
        for _, name in ipairs(way.root:listdir "/proc/self/fd") do
          local ok, target = pcall(way.root.readlink, way.root, "/proc/self/fd/" .. name)
          if ok and target == path then count = count + 1 end
        end
        return count
      end
      local r = way.root:open(path):reader()
      assert.equal(200000, #r:exactly(200000))
      assert.is_true(open_files() > 0)
      r:close()
      assert.equal(0, open_files())
      way.root:unlink(path)
    end)
  end)
end)
