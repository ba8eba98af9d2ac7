-- A process that sends nonsense ends its own connection, and nothing else: the machine and its other processes go on.

local ffi = require "ffi"

local afar = require "afar"
local sched = require "afar.sched"
local raised = require "spec.support.raised"
local ways = require "spec.support.ways"

local TAG_FD = 0xffffffff

--- A struct afar_reply.
local function reply(tag, length, result)
  return ffi.string(ffi.new("uint32_t[4]", tag, length, result, 0), 16)
end

--- What a process might say on its carrier beside its answers, and what is said of that, with a ring and without.
local nonsense = {
  ["a reply that nobody asked for"] = { reply(9999, 0, 0), "a reply to no request", "a message that is none" },
  ["bytes that are no reply"] = { ("\255\254"):rep(300), "a reply to no request", "a message that is none" },
  ["a message that promises an fd"] = { reply(TAG_FD, 0, 5), "without one", "without one" },
}

local TO_HOST_TAIL = 64 -- in struct afar_ring

--- It has one once it was called often: then each reply moves its tail.
local function use_ring(p)
  local tail = ffi.cast("uint32_t *", p.space:in_place(p.child.state.block + p.machine.hello.block_size + TO_HOST_TAIL, 4))
  for _ = 1, 1000 do
    local before = tail[0]
    p:getpid()
    if tail[0] == before + 16 then return end
  end
  error "it has no ring"
end

--- Waits until nobody can ask the process any more, and checks what is said of that.
local function is_cut_off(p, ...)
  local pid, id = p.pid, p.task:wait_end()
  if id then sched.wait(id) end
  local name, text = raised.named(p.getpid, p)
  assert.equal("unsent", name)
  assert.truthy(text:find(("in process %d on "):format(pid), 1, true), text)
  for _, why in ipairs { ... } do
    if text:find(why, 1, true) then return end
  end
  error("it doesn't say why: " .. text)
end

local function finish(p, child, witness)
  assert.equal(witness.pid, witness:getpid())
  child:kill "SIGKILL"
  child:wait()
  witness:exit(0)
  assert.is_false(p:is_alive())
end

describe("a process that sends nonsense", function()
  ways.each(function(way)
    for what, case in pairs(nonsense) do
      it(("(%s) is cut off, and no other is"):format(what), function()
        local witness, p = way.root:fork(), way.root:fork()
        local child = p.child
        pcall(p.syscall, p, "write", p.carrier, p:ptr(case[1]), #case[1])
        is_cut_off(p, case[2], case[3])
        assert.is_true(way.root:is_alive())
        finish(p, child, witness)
      end)
    end
  end)

  for what, case in pairs(nonsense) do
    it(("(%s) beside its ring is cut off"):format(what), function()
      local witness, p = afar.here:fork(), afar.here:fork()
      local child = p.child
      use_ring(p)
      pcall(p.syscall, p, "write", p.carrier, p:ptr(case[1]), #case[1])
      is_cut_off(p, case[2], case[3])
      finish(p, child, witness)
    end)
  end

  it("into the ring that it shares with the host is cut off, and no other is", function()
    local witness, p = afar.here:fork(), afar.here:fork()
    local child = p.child
    local ring = p.child.state.block + p.machine.hello.block_size
    use_ring(p)
    ffi.copy(p.space:in_place(ring + TO_HOST_TAIL, 4), "\255\255\255\127", 4)
    local _, text = raised.named(p.getpid, p)
    assert.truthy(text:find("positions of its ring that can't be", 1, true), text)
    is_cut_off(p, "positions of its ring that can't be")
    finish(p, child, witness)
  end)

  it("in its session is cut off, and not asked again and again; a new session begins anew", function()
    local dir = afar.here:mkdtemp "/tmp/hostile-XXXXXX"
    local p = afar.here:fork():persistent(dir .. "/socket")
    local child = p.child
    pcall(p.syscall, p, "write", p.carrier, p:ptr(reply(9999, 0, 0)), 16)
    is_cut_off(p, "a reply to no request")
    local q = afar.here:reconnect(dir .. "/socket")
    assert.equal(p.pid, q:getpid())
    q:exit(0)
    child:wait()
    afar.here:remove_tree(dir, { force = true })
  end)

  it("is told of by the call that it spoils", function()
    local root = afar.here:bootstrap { "sh", name = "far" }
    local p = root:fork()
    local child = p.child
    local text, err = raised.message(p.syscall, p, "write", p.carrier, p:ptr(reply(9999, 0, 0)), 16)
    assert.equal("lost", err.name)
    assert.is_true(err.sent)
    assert.truthy(text:find(("in process %d on far: what came from it can't be understood (a reply to no request), and its connection was "
      .. "ended; it may have been performed"):format(child.pid), 1, true), text)
    root:disconnect()
  end)
end)

-- What a kernel says is only as good as the machine that it is on.
describe("a directory's listing from a hostile machine", function()
  local entries = require("afar.files").entries

  --- A struct linux_dirent64.
  local function dirent(name)
    local length = 19 + #name + 1
    return ffi.string(ffi.new("uint64_t[2]", 1, 0), 16) .. string.char(length % 256, math.floor(length / 256), 8) .. name .. "\0"
  end

  it("has no names that lead elsewhere: a copy would be written there", function()
    assert.equal("a", entries(dirent "a")[1].d_name)
    assert.equal("..", entries(dirent "..")[1].d_name)
    for _, name in ipairs { "../evil", "/etc/passwd", "a/b", "" } do
      raised.saying("can be no name of a file", entries, dirent "a" .. dirent(name))
    end
  end)

  it("is taken as far as it goes", function()
    local whole = dirent "name" .. dirent "other"
    for length = 0, #whole do
      for _, entry in ipairs(entries(whole:sub(1, length))) do assert.equal("string", type(entry.d_name)) end
    end
  end)
end)

describe("a far side that is asked to become a root", function()
  --- What is said of a shell command, $0 in which is the marker.
  local function said_of(command)
    local name, text = raised.named(afar.here.bootstrap, afar.here, { "sh", "-c", command, afar.MARKER, name = "far" })
    return text, name
  end

  it("gets its stub so often, and no more", function()
    local text = said_of "while echo $0-send x86_64; do :; done"
    assert.truthy(text:find("asked for its stub more than 100 times", 1, true), text)
  end)

  it("is understood behind any amount of noise, before it asks and after", function()
    local noise = "head -c 200000 /dev/zero | tr '\\0' x; "
    local text, name = said_of(noise .. "echo; echo $0-send x86_64; " .. noise .. "echo; echo $0-error noexec here")
    assert.equal("noexec", name)
    assert.truthy(text:find("no place to write a program", 1, true), text)
  end)
end)

describe("bytes from a hostile machine", function()
  local decoders = {
    ["a directory's entries"] = require("afar.files").entries,
    ["an address"] = function(bytes) return tostring(require("afar.address").unpack(afar.here.machine.sys, bytes)) end,
    ["control messages"] = function(bytes) return require("afar.cmsg").decode({ sys = afar.here.machine.sys }, bytes) end,
    ["a kept table"] = require("afar.plain").decode,
    ["a hello"] = require("afar.hello").hello,
    ["a welcome"] = require("afar.greeting").welcome,
  }

  --- Mostly zeros and small numbers: they get further than noise.
  local function random_bytes(length)
    local bytes = {}
    for i = 1, length do bytes[i] = string.char(math.random(3) == 1 and math.random(0, 255) or math.random(4) == 1 and math.random(0, 20) or 0) end
    return table.concat(bytes)
  end

  for what, decode in pairs(decoders) do
    it(("as %s are taken, or refused by name"):format(what), function()
      math.randomseed(7)
      for _ = 1, 3000 do
        local bytes = random_bytes(math.random(0, 80))
        local ok, err = pcall(decode, bytes)
        assert.is_true(ok or not tostring(err):find "attempt to", ("%q: %s"):format(bytes, tostring(err)))
      end
    end)
  end
end)

describe("a kept table in a hostile process's memory", function()
  local anchor = require "afar.anchor"
  local dir, path, p

  before_each(function()
    dir = afar.here:mkdtemp "/tmp/hostile-XXXXXX"
    path = dir .. "/socket"
    p = afar.here:fork():persistent(path)
  end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

  local function peek() return anchor.peek(afar.here, p.pid, p.kept_state.anchor) end

  --- The content, changed by `f`, as any later host finds it.
  local function changed(f)
    local content = peek()
    content = f(content) or content
    anchor.commit(p, p.kept_state.anchor, anchor.block(content, 99))
  end

  it("is refused when it is none", function()
    local child = p.child
    for i, f in ipairs {
      function() return { 1 } end,
      function(content) content.facts = nil end,
      function(content) content.facts.environ = { "x" } end,
      function(content) content.facts.environ = "x" end,
      function(content) content.facts.regions = { { -1, 5 } } end,
      function(content) content.facts.regions = { { "x", 5 } } end,
      function(content) content.facts.since = {} end,
      function(content) content.entries = 5 end,
      function(content) content.entries = { x = 5 } end,
      function(content) content.entries = { [5] = { kind = "data", text = "n" } } end,
      function(content) content.entries = { x = { kind = "data", text = "{" } } end,
      function(content) content.entries = { x = { kind = "fd", number = "5" } } end,
      function(content) content.entries = { x = { kind = "child", pid = 5, pidfd = 5, argv = { {} } } } end,
      function(content) content.entries = { x = { kind = "child", pid = 5, pidfd = 0 / 0, argv = {} } } end,
    } do
      local good = peek()
      changed(f)
      local text = raised.message(peek)
      assert.truthy(text:find("its kept table is damaged", 1, true), i .. ": " .. text)
      anchor.commit(p, p.kept_state.anchor, anchor.block(good, 100))
    end
    changed(function(content) content.facts = 5 end)
    assert.truthy(raised.message(afar.here.reconnect, afar.here, path):find("its kept table is damaged", 1, true))
    child:kill "SIGKILL"
    child:wait()
  end)
end)
