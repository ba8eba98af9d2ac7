--- What the host makes of a stub that doesn't keep to the protocol: the stream ends, and nobody is told of a success that there wasn't.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local spawn = require "afar.spawn"
local streams = require "afar.stream"
local tasks = require "afar.task"
local sched = require "afar.sched"

local MARKER = ("0123456789abcdef"):rep(2)
local CALL, READ, QUIET = 0, 2, 2
local PING = 4

local function u32(...)
  local words = ffi.new("uint32_t[?]", select("#", ...), ...)
  return ffi.string(words, ffi.sizeof(words))
end

local function frame(kind, value, payload) return u32(0, kind * 2 ^ 24 + value) .. (payload or "") end

local function reply(tag, result, payload) return u32(tag, payload and #payload or 0, result, result < 0 and 2 ^ 32 - 1 or 0) .. (payload or "") end

local function data(bytes) return frame(0, #bytes, bytes) end

--- The hello of this machine's root, with some words changed: { [offset] = value }.
local function hello(words)
  local bytes = afar.here.machine.stream:hello()
  for offset, value in pairs(words or {}) do
    bytes = bytes:sub(1, offset) .. u32(value) .. bytes:sub(offset + 5)
  end
  return bytes
end

describe("a stub that doesn't keep to the protocol", function()
  local stream, far, task

  --- A stream whose far side says this first.
  local function open(bytes)
    local near
    near, far = spawn.socketpair()
    stream = streams.open(near, near, MARKER)
    spawn.write(far, MARKER .. bytes)
    sched.wait(stream:wait_open())
    return stream:state()
  end

  --- Until it was taken, or has ended the stream; and until all who wait for that know.
  local function say(bytes)
    local before = stream:received()
    spawn.write(far, bytes)
    assert.is_true(probe.soon(function() return stream:state() == "ended" or stream:received() == before + #bytes end))
    afar.sleep(0)
  end

  --- A chain of requests { op, flags, length of a READ }; its tags are 0, 1 ...
  local function submit(...)
    local chain = tasks.chain()
    for _, request in ipairs { ... } do
      chain:add(request[1], 39, request[2] or 0, 0, 0, 0, 0, 4096, request[3] or 0)
    end
    local done = {}
    sched.once(task:submit(chain), function(_, fate) done.fate = fate or "done" end)
    return chain, done
  end

  before_each(function()
    assert.equal("open", (open(hello())))
    task = tasks.root(stream, 8, 4096)
  end)

  after_each(function()
    stream:close()
    spawn.close(far)
  end)

  local function ended(pattern)
    local state, _, reason = stream:state()
    assert.equal("ended", state)
    assert.matches(pattern, reason)
  end

  it("is not started with limits that nobody can keep to", function()
    local READ_MAX, BLOCK_SIZE = 208, 200
    for _, words in ipairs { { [READ_MAX] = 0 }, { [READ_MAX] = 2 ^ 31 }, { [BLOCK_SIZE] = 2 ^ 31 } } do
      stream:close()
      spawn.close(far)
      local state, _, reason = open(hello(words))
      assert.equal("ended", state)
      assert.matches("limits", reason)
    end
  end)

  it("answers a chain in its order", function()
    local chain, done = submit({ CALL }, { READ, 0, 3 })
    say(data(reply(0, 7) .. reply(1, 3, "abc")))
    assert.same({ "done", 7, "abc" }, { done.fate, chain:result(1), chain:data(2) })
    assert.equal("open", (stream:state()))
  end)

  it("can leave out only what is quiet", function()
    local chain, done = submit({ CALL, QUIET }, { CALL })
    say(data(reply(1, 5)))
    assert.same({ "done", 0, 5 }, { done.fate, chain:result(1), chain:result(2) })
    local _, lost = submit({ CALL }, { CALL }) -- the tag given back last is taken first
    say(data(reply(0, 5) .. reply(1, 5)))
    assert.equal("lost", lost.fate)
    ended "a reply before that of an earlier request"
  end)

  it("brings no data for a call", function()
    local _, done = submit { CALL }
    say(data(reply(0, 3, "abc")))
    assert.equal("lost", done.fate)
    ended "more bytes than were asked for"
  end)

  it("brings no more data than was asked for", function()
    local _, done = submit { READ, 0, 2 }
    say(data(reply(0, 3, "abc")))
    assert.equal("lost", done.fate)
    ended "more bytes than were asked for"
  end)

  it("brings no less either: what Lua makes of it relies on that", function()
    local _, done = submit { READ, 0, 4 }
    say(data(reply(0, 3, "abc")))
    assert.equal("lost", done.fate)
    ended "fewer bytes than were asked for"
  end)

  it("brings as much as its result says", function()
    local _, done = submit { READ, 0, 4 }
    say(data(reply(0, 4)))
    assert.equal("lost", done.fate)
    ended "other bytes than its result says"
  end)

  it("doesn't answer what it wasn't asked", function()
    say(data(reply(3, 0)))
    ended "a reply to no request"
  end)

  it("can't fill the host's memory with pings", function()
    say(frame(PING, 1):rep(100))
    assert.equal("open", (stream:state()))
    say(frame(PING, 1):rep(16384))
    ended "pings"
  end)
end)
