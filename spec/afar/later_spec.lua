--- Methods whose modules are loaded once they are asked for: tried in hosts where that has not happened yet.

local other_host = require "spec.support.other_host"

describe("methods that are loaded later", function()
  it("are those that their modules define, and all of them", function()
    local said = other_host.run [[
      require "afar"
      local later, process, fds = require "afar.later", require "afar.process", require "afar.fd"
      local listed, missing = later.all(), {}
      for name in pairs(listed) do missing[name] = true end
      for _, class in ipairs { process, fds } do
        for _, define in ipairs { "define", "define_recorded", "define_method" } do
          local before = class[define]
          class[define] = before and function(name, ...)
            if not listed[name] then print(name .. " is defined, and not listed") end
            missing[name] = nil
            return before(name, ...)
          end
        end
      end
      later.load_all()
      for name in pairs(missing) do print(name .. " is listed, and not defined") end
      print(next(later.all()))
    ]]
    assert.equal("nil", said)
  end)

  it("are those of processes and fds alone", function()
    local said = other_host.run [[
      require "afar"
      local classes, before = { child = require("afar.child").Child, pointer = require("afar.pointer").Pointer, afar = require "afar" }, {}
      for what, class in pairs(classes) do
        for name in pairs(class) do before[what .. name] = true end
      end
      require("afar.later").load_all()
      for what, class in pairs(classes) do
        for name in pairs(class) do
          if not before[what .. name] then print(what, name) end
        end
      end
    ]]
    assert.equal("", said)
  end)

  it("come by a process, by an fd, and in a chain, by either", function()
    local said = other_host.run [[
      local afar = require "afar"
      local later = require "afar.later"
      local p = afar.here:fork()
      local fd = p:open "/proc"
      print(package.loaded["afar.statfs"], package.loaded["afar.jobs"], package.loaded["afar.own_fds"], package.loaded["afar.directory"])
      print(fd:fstatfs().f_type == p:statfs("/proc").f_type)
      print(p:chain(function(c) return c:getpgid(0) end) == p:getpgid(0))
      print((pcall(p.chain, p, function(c) return c:open("/proc"):close_on_exec() end)))
      print(#p:listdir "/proc/self/fd" > 0)
    ]]
    assert.equal("nil\tnil\tnil\tnil\ntrue\ntrue\ntrue\ntrue", said)
  end)

  it("are among those that may have been meant", function()
    local said = other_host.run [[
      local p = require("afar").here:fork()
      print((select(2, pcall(function() return p.getpgit end))))
      print((select(2, pcall(function() return p:open("/").fstatsf end))))
    ]]
    assert.truthy(said:find('did you mean "getpgid"', 1, true), said)
    assert.truthy(said:find('did you mean "fstatfs"', 1, true), said)
  end)

  it("are not loaded by what does without them", function()
    local said = other_host.run [[
      local p = require("afar").here:fork()
      p:read_file "/proc/self/stat"
      p:getppid()
      print(package.loaded["afar.fuse"], package.loaded["afar.copytree"], package.loaded["afar.ways"])
    ]]
    assert.equal("nil\tnil\tnil", said)
  end)
end)
