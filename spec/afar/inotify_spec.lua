-- What happens to files, as a sequence of events.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

ways.each(function(way)
  describe("p:inotify", function()
    local p, dir

    before_each(function()
      p = way.root:fork()
      dir = p:mkdtemp "/tmp/afar-inotify-XXXXXX"
    end)

    after_each(function()
      p:run { "rm", "-rf", dir }
      p:exit()
    end)

    it("tells what happens, in order, with names", function()
      local watch = p:inotify(dir, "IN_CREATE|IN_CLOSE_WRITE|IN_DELETE|IN_MOVE")
      local fd = p:open(dir .. "/a", "O_CREAT|O_WRONLY")
      fd:write "x"
      fd:close()
      p:rename(dir .. "/a", dir .. "/b")
      p:mkdir(dir .. "/sub")
      p:unlink(dir .. "/b")
      local seen = {}
      for event in watch do
        seen[#seen + 1] = tostring(event):gsub("/tmp/afar%-inotify%-%w+", "DIR")
        if event.IN_DELETE then break end
        if event.IN_CREATE then assert.is_false(event.IN_DELETE) end
      end
      assert.same({
        "IN_CREATE DIR/a", "IN_CLOSE_WRITE DIR/a", "IN_MOVED_FROM DIR/a", "IN_MOVED_TO DIR/b", "IN_CREATE|IN_ISDIR DIR/sub", "IN_DELETE DIR/b",
      }, seen)
      watch:close()
    end)

    it("ties the two ends of a rename together", function()
      p:write_file(dir .. "/a", "")
      local watch = p:inotify(dir, "IN_MOVE")
      p:rename(dir .. "/a", dir .. "/b")
      local from, to = watch:next(), watch:next()
      assert.same({ "a", "b" }, { from.name, to.name })
      assert.is_true(from.cookie ~= 0 and from.cookie == to.cookie)
      watch:close()
    end)

    it("waits without blocking the process, until it is closed", function()
      local watch, names = p:inotify({ dir }, "IN_CREATE"), {}
      afar.nursery(function(n)
        n:spawn(function()
          for event in watch do names[#names + 1] = event.name end
          names.ended = true
        end)
        afar.sleep(0.02)
        p:mkdir(dir .. "/one")
        assert.is_true(probe.soon(function() return #names > 0 end))
        assert.same({ "one" }, names)
        watch:close()
      end)
      assert.is_true(names.ended)
    end)

    it("watches more paths, and less", function()
      p:mkdir(dir .. "/one")
      local watch = p:inotify(dir .. "/one", "IN_CREATE")
      watch:add(dir, "IN_CREATE|IN_ONLYDIR")
      p:mkdir(dir .. "/two")
      assert.equal(dir, watch:next().path)
      watch:remove(dir)
      assert.is_true(watch:next().IN_IGNORED)
      p:mkdir(dir .. "/three")
      p:mkdir(dir .. "/one/four")
      assert.equal("four", watch:next().name)
      watch:close()
    end)

    it("gives long names whole", function()
      local name = ("n"):rep(255)
      local watch = p:inotify(dir, "IN_CREATE")
      p:mkdir(dir .. "/" .. name)
      p:mkdir(dir .. "/x")
      assert.equal(name, watch:next().name)
      assert.equal("x", watch:next().name)
      watch:close()
    end)

    it("refuses what can't be watched, and leaves nothing open", function()
      local _, err = afar.try(p.inotify, p, { dir, dir .. "/none" })
      assert.equal("ENOENT", err.name)
      assert.matches("inotify_add_watch", tostring(err))
      assert.has_error(function() p:inotify(1) end, "inotify: a path, or a list of paths, was expected")
      assert.matches('no constant "IN_CREAT"', tostring(select(2, pcall(p.inotify, p, dir, "IN_CREAT"))))
    end)
  end)
end)
