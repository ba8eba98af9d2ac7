-- What a persistent process keeps, for whoever comes back to it.

local afar = require "afar"
local other = require "spec.support.other_host"
local error_of = require("spec.support.raised").err
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"

--- Bytes of memory that are there because of the process, shared ones too.
local function memory_of(pid)
  local bytes = probe.rss(pid)
  for range, name in afar.here:read_file(("/proc/%d/maps"):format(pid)):gmatch "([%x-]+) rw%-s [^\n]*(/memfd:afar%-arena)" do
    bytes = bytes + afar.here:stat(("/proc/%d/map_files/%s"):format(pid, range)).st_blocks * 512
    assert(name)
  end
  return bytes
end

describe("a persistent process", function()
  local dir, path

  before_each(function()
    dir = afar.here:mkdtemp "/tmp/persistent-XXXXXX"
    path = dir .. "/socket"
  end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

  describe("keeps", function()
    it("fds, children and data by name, for whoever comes", function()
      other.run([[
        local afar = require "afar"
        local path, dir = ...
        local p = afar.here:fork():persistent(path)
        p.kept.file = p:open(dir .. "/file", "O_RDWR|O_CREAT", "0600")
        p.kept.child = p:fork():exec { "sleep", "1000" }
        p.kept.state = { n = 1.5, list = { "a", "b" }, yes = true, no = false, text = "\0\255;{}" }
        p.kept.gone = 1
        p.kept.gone = nil
        p.kept.state = { n = 2 }
        p.kept.state = { n = 1.5, list = { "a", "b" }, yes = true, no = false, text = "\0\255;{}" }
      ]], path, dir)
      local p = afar.reconnect(path)
      local names = {}
      for name in p.kept() do names[#names + 1] = name end
      assert.same({ "child", "file", "state" }, names)
      assert.same({ n = 1.5, list = { "a", "b" }, yes = true, no = false, text = "\0\255;{}" }, p.kept.state)
      p.kept.file:write "x"
      assert.equal("x", afar.here:read_file(dir .. "/file"))
      assert.equal("sleep", p.kept.child.argv[1])
      assert.is_nil(p.kept.gone)
      assert.same({}, p:lost())
      p.kept.child:kill()
      assert.equal("SIGTERM", p.kept.child:wait().signal)
      p:exit()
    end)

    it("nothing else", function()
      local p = afar.here:fork():persistent(path)
      local loop = {}
      loop.loop = loop
      for _, bad in ipairs { { print, "a function is no plain data" }, { loop, "twice, or in itself" }, { { [{}] = 1 }, "a table can't be a key" } } do
        assert.matches(bad[2], tostring(error_of(function() p.kept.bad = bad[1] end)), 1, true)
      end
      assert.matches("belongs to", tostring(error_of(function() p.kept.bad = afar.here:open "/dev/null" end)))
      local inert = p:fork()
      assert.matches("once it has executed something", tostring(error_of(function() p.kept.bad = inert end)))
      assert.matches("names are strings", tostring(error_of(function() p.kept[1] = 1 end)))
      assert.is_nil(p.kept.bad)
      p:exit()
    end)

    it("its entries when the handles are garbage here", function()
      local function visit(f)
        f(afar.reconnect(path))
        collectgarbage()
        collectgarbage()
        afar.sleep(0.01)
      end
      afar.here:fork():persistent(path):disconnect()
      local number
      visit(function(p)
        p.kept.file = p:open "/etc/hosts"
        number = p.kept.file.number
      end)
      visit(function(p) assert.equal(number, p.kept.file.number) end)
      visit(function(p)
        assert.equal(number, p.kept.file.number)
        p:exit()
      end)
    end)

    it("no entry of what is something else now, or has ended: that is said", function()
      local p = afar.here:fork():persistent(path)
      p.kept.closed, p.kept.other, p.kept.fine = p:open "/etc/hosts", p:open "/etc/hosts", p:open "/etc/hosts"
      p.kept.child, p.kept.awaited = p:fork():exec { "true" }, p:fork():exec { "true" }
      local null = p:open "/dev/null"
      p:syscall("dup3", null.number, p.kept.other.number, 0)
      p:syscall("wait4", p.kept.awaited.pid, 0, 0, 0)
      local pid = p.kept.awaited.pid
      p:syscall("close", p.kept.closed.number)
      local q = afar.reconnect(path)
      local lost = q:lost()
      assert.matches("^fd %d+ is ", lost.closed) -- not open; or what q's own connection is
      assert.matches("^fd %d+ is another file now$", lost.other)
      assert.equal(("child %d has ended, and was awaited"):format(pid), lost.awaited)
      assert.is_nil(q.kept.closed or q.kept.other or q.kept.awaited)
      assert.is_true(q.kept.child:wait().ok)
      q.kept.closed = 1
      assert.is_nil(q:lost().closed)
      q:exit()
    end)

    it("and lists what no entry names", function()
      other.run([[
        local afar = require "afar"
        local p = afar.here:fork():persistent((...))
        p.kept.named = p:open "/etc/hosts"
        p:syscall("openat", -100, p:ptr "/etc/passwd\0", 0, 0)
        p:fork():exec { "sleep", "1000" }
      ]], path)
      local p = afar.reconnect(path)
      local list = {}
      for _, one in ipairs(p:unclaimed()) do -- the host's own may have been started with more
        if one.child or one.target == "/etc/passwd" then list[#list + 1] = one end
      end
      assert.equal(2, #list)
      assert.equal("sleep 1000", list[1].command)
      assert.equal("/etc/passwd", list[2].target)
      p.kept.sleeper, p.kept.passwd = list[1].child, list[2].fd
      for _, one in ipairs(p:unclaimed()) do assert.is_true(one.child == nil and one.target ~= "/etc/passwd") end
      p.kept.sleeper = nil
      p:exit()
    end)

    it("with no place in any file system but its socket", function()
      superuser.needed()
      local p = afar.here:fork():persistent(path)
      p:unshare "CLONE_NEWNS"
      p:mount("none", "/", nil, "MS_REC|MS_PRIVATE")
      p.kept.child = p:fork():exec { "sleep", "1000" }
      p:mount("none", "/", nil, "MS_REMOUNT|MS_BIND|MS_RDONLY")
      assert.equal("EROFS", error_of(p.open, p, dir .. "/x", "O_WRONLY|O_CREAT", "0600").name)
      p.kept.state = { 1 }
      local q = afar.reconnect(path)
      assert.same({ 1 }, q.kept.state)
      assert.equal(p.kept.child.pid, q.kept.child.pid)
      q:exit()
    end)
  end)

  it("takes fds and children of others", function()
    local p = afar.here:fork():persistent(path)
    local owner = afar.here:fork()
    local from, to = owner:pipe2()
    local child = owner:fork():exec { "sleep", "1000" }
    p.kept.pipe, p.kept.pidfd = p:take(from), p:take(child)
    to:write "x"
    assert.equal("x", p.kept.pipe:read())
    child:kill()
    assert.is_true(p.kept.pidfd:wait().POLLIN)
    child:wait()
    owner:exit(0)
    p:exit()
  end)

  it("learns how children of others have ended, once their parent has awaited them", function()
    local p = afar.here:fork():persistent(path)
    local owner = afar.here:fork()
    local child = owner:fork():exec { "sh", "-c", "exit 9" }
    p.kept.child = p:take(child)
    p:disconnect()
    p = afar.reconnect(path)
    local keeps, status
    afar.nursery(function(n)
      n:spawn(function() keeps, status = pcall(p.kept.child.exit_status, p.kept.child) end)
      p.kept.child:wait()
      child:wait()
    end)
    if keeps then
      assert.equal(9, status.code)
      assert.equal(9, p.kept.child:exit_status().code)
      assert.matches("it is no pidfd$", tostring(error_of(function() return p:open("/dev/null"):exit_status() end)))
    else
      assert.matches("this kernel doesn't tell how a process has ended that is no child; Linux 6.15", tostring(status))
    end
    owner:exit(0)
    p:exit()
  end)

  it("gives back the memory of the host before", function()
    superuser.needed()
    local pid = tonumber(other.run([[
      local afar = require "afar"
      local p = afar.here:fork():persistent((...))
      p:ptr(("x"):rep(100000000))
      p.kept.state = ("y"):rep(100000)
      print(p.pid)
    ]], path))
    assert.is_true(memory_of(pid) > 90e6)
    local p = afar.reconnect(path)
    assert.is_true(memory_of(pid) < 10e6)
    assert.equal(("y"):rep(100000), p.kept.state)
    for i = 1, 10 do p.kept.state = i end
    p:disconnect()
    for _ = 1, 3 do
      p = afar.reconnect(path)
      assert.equal(10, p.kept.state)
      p:ptr(("z"):rep(10000000))
      p:disconnect()
    end
    p = afar.reconnect(path)
    assert.is_true(memory_of(pid) < 10e6)
    p:exit()
  end)
end)
