-- Trees of files: listed, walked, found by patterns, made and removed.

local afar = require "afar"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

ways.each(function(way)
  local p, dir

  before_each(function()
    p = way.root:fork()
    p:umask "022"
    dir = p:mkdtemp()
  end)

  after_each(function()
    p:remove_tree(dir, { missing_ok = true, force = true })
    p:exit()
  end)

  --- Makes what is named: "a/" a directory, "a" a file, "a@b" a symbolic link to b.
  local function make(...)
    for _, what in ipairs { ... } do
      local link, target = what:match "^(.-)@(.*)$"
      if link then
        p:symlink(target, dir .. "/" .. link)
      elseif what:sub(-1) == "/" then
        p:mkdir_p(dir .. "/" .. what)
      else
        p:open(dir .. "/" .. what, "O_CREAT|O_WRONLY"):close()
      end
    end
  end

  local function walked(options)
    local found = {}
    for entry in p:walk(dir, options) do
      found[#found + 1] = entry.path:sub(#dir + 2) .. (entry.type == "directory" and "/" or "")
    end
    return found
  end

  describe("p:listdir", function()
    it("gives the names, sorted", function()
      make("b", "a/", ".hidden")
      assert.same({ ".hidden", "a", "b" }, p:listdir(dir))
      assert.same({}, p:listdir(dir .. "/a"))
      p:chdir(dir)
      assert.same({ ".hidden", "a", "b" }, p:listdir())
    end)

    it("gives all of a directory that is larger than one round trip brings", function()
      local name = ("n"):rep(200)
      p:chain(function(c)
        for i = 1, 700 do c:mkdir(("%s/%s%04d"):format(dir, name, i)) end
      end)
      local names = p:listdir(dir)
      assert.equal(700, #names)
      assert.equal(name .. "0700", names[700])
      local count = 0
      for _ in p:walk(dir) do count = count + 1 end
      assert.equal(700, count)
    end)

    it("raises what the kernel says", function()
      assert.matches('^listdir%("/none"%) in .*ENOENT', message(p.listdir, p, "/none"))
      make "file"
      assert.matches("ENOTDIR", message(p.listdir, p, dir .. "/file"))
    end)
  end)

  describe("p:walk", function()
    it("gives all that is beneath, directories first", function()
      make("b", "a/c/d/", "a/b/e/", "a/b/f", "z/")
      assert.same({ "a/", "a/b/", "a/b/e/", "a/b/f", "a/c/", "a/c/d/", "b", "z/" }, walked())
    end)

    it("does not follow symbolic links, but the one that it is given", function()
      make("real/", "real/x", "link@real")
      assert.same({ "link", "real/", "real/x" }, walked())
      local names = {}
      for entry in p:walk(dir .. "/link") do names[#names + 1] = entry.path end
      assert.same({ dir .. "/link/x" }, names)
    end)

    it("tells of each what it is", function()
      make("file", "link@nowhere")
      p:mknod(dir .. "/pipe", "S_IFIFO|0600")
      local types = {}
      for entry in p:walk(dir) do
        types[entry.name] = entry.type
        assert.equal(1, entry.depth)
        assert.equal(entry.stat.st_ino, entry.dir:fstatat(entry.name, "AT_SYMLINK_NOFOLLOW").st_ino)
      end
      assert.same({ file = "file", link = "symlink", pipe = "fifo" }, types)
    end)

    it("leaves out what is skipped, and what is too deep", function()
      make("a/b/c/", "d/e/")
      assert.same({ "a/", "d/" }, walked { max_depth = 1 })
      assert.same({ "a/", "a/b/", "d/", "d/e/" }, walked { max_depth = 2 })
      local found = {}
      for entry in p:walk(dir) do
        found[#found + 1] = entry.name
        entry.skip = entry.name == "b"
      end
      assert.same({ "a", "b", "d", "e" }, found)
    end)

    it("may be left early, and leaves nothing open", function()
      make("a/b/c/", "d/")
      local walk = p:walk(dir)
      walk()
      walk()
      walk:close()
      assert.is_nil(walk())
      p:walk(dir)()
    end)

    it("is not led astray by a directory that is replaced by a link meanwhile", function()
      make("a/", "a/inside", "b/")
      local found = {}
      for entry in p:walk(dir) do
        found[#found + 1] = entry.name
        if entry.name == "a" then
          p:rename(dir .. "/a", dir .. "/b/moved")
          p:symlink("/etc", dir .. "/a")
        end
      end
      table.sort(found)
      assert.same({ "a", "b", "inside" }, found)
    end)

    it("says what it can't read, or asks", function()
      superuser.needed()
      make("a/", "b/c/")
      p:setresgid(65534, 65534, 65534)
      p:chown(dir, 65534, -1)
      p:chmod(dir .. "/a", 0)
      p:setresuid(65534, 65534, 0)
      assert.matches('walk%(".*/a"%) in .*EACCES', message(walked))
      local failed
      local found = walked { on_error = function(path, err) failed = path:sub(#dir + 2) .. " " .. err.name end }
      p:setresuid(0, 0, 0)
      assert.same({ "a/", "b/", "b/c/" }, found)
      assert.equal("a EACCES", failed)
    end)

    it("knows its options", function()
      assert.matches('there is no option "maxdepth" %(did you mean "max_depth"%?%)', message(p.walk, p, dir, { maxdepth = 1 }))
      assert.matches("ENOENT", message(p.walk, p, dir .. "/none"))
    end)
  end)

  describe("p:glob", function()
    local function found(pattern)
      local names = p:glob(dir .. "/" .. pattern)
      for i, name in ipairs(names) do names[i] = name:sub(#dir + 2) end
      return table.concat(names, " ")
    end

    it("finds what fits", function()
      make("a1", "a2", "b1", "sub/", "sub/a3", ".hidden", "we[rd", "deep/er/", "deep/er/a4")
      assert.equal("a1 a2", found "a?")
      assert.equal("a1 b1", found "*1")
      assert.equal("a1 b1", found "[ab]1")
      assert.equal("b1", found "[!a]1")
      assert.equal("a1 a2 b1", found "[a-b][0-9]")
      assert.equal("sub/a3", found "*/a*")
      assert.equal("a1 a2 deep/er/a4 sub/a3", found "**/a*")
      assert.equal(".hidden", found ".h*")
      assert.equal("we[rd", found "we\\[*")
      assert.equal("a1", found "a1")
      assert.equal("", found "none")
      assert.equal("", found "*/none")
      assert.equal("sub/a3", found "sub/a3")
      assert.equal("deep/ sub/", found "*/")
    end)

    it("is relative to the working directory", function()
      make "x/y/"
      p:chdir(dir)
      assert.same({ "x/y" }, p:glob "*/*")
      assert.same({ "x" }, p:glob "x")
    end)

    it("refuses what is no pattern", function()
      assert.has_error(function() p:glob {} end, "glob: the pattern must be a string")
    end)
  end)

  describe("p:mkdir_p", function()
    it("makes all that is missing, and says how many that were", function()
      assert.equal(3, p:mkdir_p(dir .. "/a/b/c"))
      assert.equal(0, p:mkdir_p(dir .. "/a/b/c/"))
      assert.equal(1, p:mkdir_p(dir .. "/a/b/d", "0700"))
      assert.equal("0700", p:stat(dir .. "/a/b/d").permissions)
    end)

    it("raises where something else is in the way", function()
      make "file"
      assert.matches("mkdir_p.*ENOTDIR", message(p.mkdir_p, p, dir .. "/file/a"))
      assert.matches("mkdir_p", message(p.mkdir_p, p, dir .. "/file"))
    end)
  end)

  describe("p:stat_many", function()
    it("looks at many, and says what of them it could not", function()
      make("a", "b/")
      local found, failed = p:stat_many { dir .. "/a", dir .. "/none", dir .. "/b" }
      assert.equal("file", found[1].type)
      assert.is_false(found[2])
      assert.equal("directory", found[3].type)
      assert.equal("ENOENT", failed[2].name)
      assert.is_nil(failed[1])
    end)

    it("takes any number", function()
      local names = {}
      for i = 1, 1201 do names[i] = i % 2 == 0 and dir or "/none" end
      local found = p:stat_many(names)
      assert.equal(1201, #found)
      assert.is_false(found[1201])
      assert.equal("directory", found[1200].type)
      assert.same({}, (p:stat_many {}))
      assert.matches("path 1 is no path", message(p.stat_many, p, { "a\0b" }))
    end)
  end)

  describe("p:remove_tree", function()
    it("removes all, and nothing else", function()
      make("a/b/c/", "a/file", "keep", "a/b/up@../../keep", "a/etc@/etc")
      for i = 1, 150 do make(("a/many%d/"):format(i), ("a/many%d/x"):format(i)) end
      p:remove_tree(dir .. "/a")
      assert.same({ "keep" }, p:listdir(dir))
      p:remove_tree(dir .. "/keep")
      assert.same({}, p:listdir(dir))
    end)

    it("removes a link, not what it leads to", function()
      make("real/", "real/x", "link@real")
      p:remove_tree(dir .. "/link")
      assert.same({ "real" }, p:listdir(dir))
      assert.same({ "x" }, p:listdir(dir .. "/real"))
    end)

    it("never follows a link that takes a directory's place while it runs", function()
      make("victim/", "victim/precious")
      for i = 1, 40 do make(("a/%d/"):format(i), ("a/%d/x"):format(i)) end
      local other = way.root:fork()
      afar.nursery(function(n)
        n:spawn(function()
          for i = 1, 40 do
            afar.try(other.rename, other, ("%s/a/%d"):format(dir, i), ("%s/a/x%d"):format(dir, i))
            afar.try(other.symlink, other, dir .. "/victim", ("%s/a/%d"):format(dir, i))
          end
        end)
        afar.try(p.remove_tree, p, dir .. "/a")
      end)
      other:exit()
      assert.same({ "precious" }, p:listdir(dir .. "/victim"))
      p:remove_tree(dir .. "/a", { missing_ok = true })
      assert.same({ "victim" }, p:listdir(dir))
    end)

    it("removes a directory that its owner may not read, if it is told to", function()
      superuser.needed()
      make("a/b/", "a/b/x", "a/c/")
      p:run { "chown", "-R", "65534:65534", dir }
      p:setresgid(65534, 65534, 65534)
      p:setresuid(65534, 65534, 0)
      p:chmod(dir .. "/a/b", 0)
      p:chmod(dir .. "/a", "0500")
      assert.matches("EACCES", message(p.remove_tree, p, dir .. "/a"))
      p:remove_tree(dir .. "/a", { force = true })
      local left = p:listdir(dir)
      p:setresuid(0, 0, 0)
      assert.same({}, left)
    end)

    it("stops at a mount", function()
      superuser.needed()
      way:needs "mounts"
      local child = way.root:clone "CLONE_NEWNS"
      child:mount(nil, "/", nil, "MS_REC|MS_PRIVATE")
      make "a/mnt/"
      child:mount("tmpfs", dir .. "/a/mnt", "tmpfs")
      child:write_file(dir .. "/a/mnt/x", "")
      local _, err = afar.try(child.remove_tree, child, dir .. "/a")
      assert.is_true(err.name == "EXDEV" or err.name == "EBUSY", tostring(err))
      assert.same({ "x" }, child:listdir(dir .. "/a/mnt"))
      child:exit()
    end)

    it("refuses what has no name, and says what isn't there", function()
      assert.matches("it must end in a name", message(p.remove_tree, p, "/"))
      assert.matches("it must end in a name", message(p.remove_tree, p, dir .. "/.."))
      assert.matches("^remove_tree%(.*ENOENT", message(p.remove_tree, p, dir .. "/none"))
      p:remove_tree(dir .. "/none", { missing_ok = true })
      p:remove_tree(dir .. "/none/none", { missing_ok = true })
    end)
  end)

  describe("temporary directories", function()
    it("are ours alone, and have new names", function()
      local one, other = p:mkdtemp(dir .. "/t-XXXXXX"), p:mkdtemp(dir .. "/t-XXXXXX")
      assert.is_true(one ~= other)
      assert.matches("/t%-%w%w%w%w%w%w$", one)
      assert.equal("0700", p:stat(one).permissions)
      assert.matches("must end in XXXXXX", message(p.mkdtemp, p, dir .. "/t"))
    end)

    it("are removed when the function ends, however it ends", function()
      local path
      local function fill(name)
        path = name
        p:mkdir_p(name .. "/a/b")
        p:write_file(name .. "/a/b/c", "x")
        p:chmod(name .. "/a", 0)
        return "result"
      end
      assert.equal("result", p:with_tempdir(fill))
      assert.equal("ENOENT", select(2, afar.try(p.stat, p, path)).name)
      assert.matches("oops", message(p.with_tempdir, p, function(name)
        fill(name)
        error "oops"
      end))
      assert.equal("ENOENT", select(2, afar.try(p.stat, p, path)).name)
      assert.is_false(pcall(afar.timeout, 0.1, p.with_tempdir, p, function(name)
        fill(name)
        afar.sleep(60)
      end))
      assert.equal("ENOENT", select(2, afar.try(p.stat, p, path)).name)
    end)

    it("work in a child that shares fds", function()
      way:needs "shared fds"
      local child = p:clone "CLONE_FILES"
      local path = child:with_tempdir(function(name) return child:stat(name).type == "directory" and name end)
      assert.equal("ENOENT", select(2, afar.try(p.stat, p, path)).name)
      child:exit()
    end)
  end)
end)
