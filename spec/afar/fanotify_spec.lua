-- What happens to files, with who did it, and whether they may: fanotify.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local raised = require "spec.support.raised"
local fails = raised.saying

for _, name in ipairs { "here", "over pipes" } do
  describe("p:fanotify", function()
    ways.over(ways.get(name), function(way)
      local p, dir, before

      before_each(function()
        before = probe.holds(way.root)
        p = way.root:fork()
        dir = p:mkdtemp "/tmp/afar-fanotify-XXXXXX"
        p:chmod(dir, "0755")
      end)

      after_each(function()
        p:remove_tree(dir)
        p:exit()
        assert.same(before, probe.holds(way.root, before))
      end)

      local function create(path) p:open(path, "O_CREAT|O_WRONLY"):close() end

      --- Whether the kernel lets us: it takes CAP_SYS_ADMIN where the filesystem is.
      local function can(flags)
        local ok, fd = pcall(p.fanotify_init, p, flags)
        if ok then fd:close() end
        return ok
      end

      it("tells what happens, in order, with names and with who did it", function()
        superuser.needed()
        p:mkdir(dir .. "/sub")
        local watch = p:fanotify({ dir, dir .. "/sub" }, "FAN_CREATE|FAN_DELETE|FAN_MOVED_FROM|FAN_MOVED_TO|FAN_ONDIR")
        local seen = {}
        local function take()
          local event = watch:next()
          assert.equal(p.pid, event.pid)
          seen[#seen + 1] = tostring(event):gsub("/tmp/afar%-fanotify%-%w+", "DIR")
        end
        create(dir .. "/a")
        take()
        p:rename(dir .. "/a", dir .. "/sub/b")
        take()
        take()
        p:mkdir(dir .. "/c")
        take()
        p:unlink(dir .. "/sub/b")
        take()
        assert.same({ "FAN_CREATE DIR/a", "FAN_MOVED_FROM DIR/a", "FAN_MOVED_TO DIR/sub/b", "FAN_CREATE|FAN_ONDIR DIR/c", "FAN_DELETE DIR/sub/b" }, seen)
        watch:remove(dir)
        create(dir .. "/unseen")
        create(dir .. "/sub/seen")
        assert.equal("seen", watch:next().name)
        watch:close()
      end)

      it("watches a filesystem as a whole, and says where in it something happens", function()
        superuser.needed()
        local watch = p:fanotify("/tmp", "FAN_CREATE|FAN_ONDIR", { whole = "filesystem" })
        p:mkdir_p(dir .. "/x/y/z")
        local seen = {}
        repeat
          local event = watch:next()
          if event.path and event.path:sub(1, #dir) == dir then seen[#seen + 1] = event.path:sub(#dir + 1) .. "/" .. event.name end
        until #seen == 3
        assert.same({ "/x", "/x/y", "/x/y/z" }, seen)
        watch:close()
      end)

      it("waits without blocking the process, until it is closed", function()
        superuser.needed()
        local watch, names = p:fanotify(dir, "FAN_CREATE"), {}
        afar.timeout(60, afar.nursery, function(n)
          n:spawn(function()
            for event in watch do names[#names + 1] = event.name end
            names.ended = true
          end)
          create(dir .. "/one")
          probe.works(p)
          assert.is_true(probe.soon(function() return names[1] end))
          watch:close()
        end)
        assert.same({ "one", ended = true }, names)
      end)

      it("decides who may open what", function()
        superuser.needed()
        create(dir .. "/secret")
        create(dir .. "/public")
        local watch = p:fanotify(dir, "FAN_OPEN_PERM")
        local other = way.root:fork()
        local asked, secret, public = {}, nil, nil
        afar.timeout(60, afar.nursery, function(n)
          n:spawn(function()
            for event in watch do
              asked[#asked + 1] = event.path:sub(#dir + 2)
              assert.equal(other.pid, event.pid)
              assert.is_true(event.waits)
              if event.path:find "secret" then event:deny() else event:allow() end
              assert.is_false(event.waits)
              fails("nobody waits for an answer", event.allow, event)
            end
          end)
          secret = raised.err(other.open, other, dir .. "/secret").name
          public = other:open(dir .. "/public")
          watch:close()
        end)
        assert.equal("EPERM", secret)
        assert.equal("", public:read())
        assert.same({ "secret", "public" }, asked)
        assert.is_true(other:exit(0).ok)
      end)

      it("gives the files themselves where asked", function()
        superuser.needed()
        p:write_file(dir .. "/file", "content")
        local watch = p:fanotify(dir, "FAN_CLOSE_WRITE", { keep_fds = true })
        local file = p:open(dir .. "/file", "O_WRONLY|O_APPEND")
        file:write " more"
        file:close()
        local event = watch:next()
        assert.equal(dir .. "/file", event.path)
        assert.is_false(event.waits)
        assert.equal("content more", event.fd:read())
        event.fd:close()
        watch:close()
      end)

      it("tells nobody special names in what is theirs, and refuses the rest with a reason", function()
        superuser.needed()
        p:chown(dir, 1234, 1234)
        local user = way.root:fork()
        user:setresgid(1234, 1234, 1234)
        user:setresuid(1234, 1234, 1234)
        local ok, watch = pcall(user.fanotify, user, dir, "FAN_CREATE")
        if ok then -- Linux 5.13
          user:mkdir(dir .. "/theirs")
          create(dir .. "/ours")
          assert.same({ dir, "ours" }, (function()
            local event = watch:next()
            return { event.path, event.name }
          end)())
          watch:close()
        end
        assert.equal("EPERM", fails("CAP_SYS_ADMIN", user.fanotify, user, dir, "FAN_OPEN_PERM").name)
        if ok then assert.equal("EPERM", fails("as a whole takes CAP_SYS_ADMIN", user.fanotify, user, dir, "FAN_CREATE", { whole = "filesystem" }).name) end
        user:exit(0)
      end)

      it("refuses bad input, and leaves nothing open", function()
        superuser.needed()
        assert.is_true(can "FAN_CLASS_NOTIF")
        fails("a path, or a list of paths, was expected", p.fanotify, p, 7, "FAN_CREATE")
        fails("which events?", p.fanotify, p, dir)
        fails('there is no constant "FAN_CREATED" (did you mean "FAN_CREATE"?)', p.fanotify, p, dir, "FAN_CREATED")
        fails('there is no option "hole"; did you mean "whole"?', p.fanotify, p, dir, "FAN_CREATE", { hole = "mount" })
        fails('"mount" or "filesystem" was expected', p.fanotify, p, dir, "FAN_CREATE", { whole = "disk" })
        assert.equal("ENOENT", raised.err(p.fanotify, p, dir .. "/missing", "FAN_CREATE").name)
      end)
    end)
  end)
end
