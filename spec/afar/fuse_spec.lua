-- Filesystems that a script serves.

local afar = require "afar"
local ffi = require "ffi"
local message = require "afar.fuse.message"
local probe = require "spec.support.probe"
local sys = require "afar.sys"
local ways = require "spec.support.ways"

local raised = require "spec.support.raised"
local fails = raised.saying

--- A filesystem of files in a table, name -> content, in one directory.
local function handlers(files, more)
  local names, nodes = {}, {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do nodes[name] = i + 1 end
  local function attr(nodeid)
    if nodeid == 1 then return { type = "directory" } end
    return { size = #files[names[nodeid - 1]], mtime = 1234.5, permissions = "0600" }
  end
  local function entry(name) return { name = name, nodeid = nodes[name], attr = attr(nodes[name]) } end
  local served = {
    LOOKUP = function(request)
      if not nodes[request.name] then return request:fail "ENOENT" end
      return entry(request.name)
    end,
    GETATTR = function(request) return { attr = attr(request.nodeid) } end,
    OPEN = function() end,
    OPENDIR = function() end,
    READ = function(request) return files[names[request.nodeid - 1]]:sub(request.offset + 1, request.offset + request.size) end,
    WRITE = function(request)
      local name = names[request.nodeid - 1]
      files[name] = files[name]:sub(1, request.offset) .. request.data .. files[name]:sub(request.offset + #request.data + 1)
      return #request.data
    end,
    SETATTR = function(request)
      local name = names[request.nodeid - 1]
      if request.valid % 16 >= 8 then files[name] = files[name]:sub(1, request.size) end
      return { attr = attr(request.nodeid) }
    end,
    FLUSH = function() end,
    RELEASE = function() end,
    RELEASEDIR = function() end,
    READDIRPLUS = function()
      local list = { { name = ".", type = "directory" }, { name = "..", type = "directory" } }
      for _, name in ipairs(names) do list[#list + 1] = entry(name) end
      return list
    end,
  }
  served.READDIR = served.READDIRPLUS
  for opcode, f in pairs(more or {}) do served[opcode] = f end
  return served
end

for _, name in ipairs { "here", "over pipes" } do
  describe("p:fuse", function()
    ways.over(ways.get(name), function(way)
      local p, dir

      before_each(function()
        if not pcall(way.root.access, way.root, "/dev/fuse", "R_OK|W_OK") then return end
        p = way.root:clone "CLONE_NEWUSER|CLONE_NEWNS"
        dir = way.root:mkdtemp "/tmp/afar-fuse-XXXXXX"
      end)

      after_each(function()
        if not p then return end
        p:exit(0)
        p = nil
        way.root:rmdir(dir)
      end)

      local function ready() return p ~= nil or pending "/dev/fuse can't be opened here" end

      --- f(reader) beside what serves `files`: a process that sees the filesystem, and doesn't serve it.
      local function serving(served, f, options)
        local fuse = p:fuse(dir, options)
        local reader = p:fork()
        local ok, err = pcall(afar.timeout, 60, afar.nursery, function(n)
          n:spawn(fuse.serve, fuse, served)
          f(reader, fuse)
          fuse:close()
        end)
        if reader:is_alive() then reader:exit(0) end
        fuse:close()
        if not ok then error(err, 0) end
      end

      it("gives a program's calls as requests, in their order, and their answers to the program", function()
        if not ready() then return end
        local fuse = p:fuse(dir, { readdirplus = true })
        local served, seen, last = handlers { hello = "hello, world" }, {}, nil
        local from, to = p:pipe2()
        local reader = p:fork()
        afar.timeout(60, afar.nursery, function(n)
          n:spawn(function()
            local command = ("stat -c %%F %s; cat %s/hello; echo; ls %s"):format(dir, dir, dir)
            reader:exec({ "sh", "-c", command, stdout = reader:inherit(to) }):check()
            to:close()
          end)
          n:spawn(function()
            assert.equal("directory\nhello, world\nhello\n", from:reader():all())
            probe.soon(function() return last == "RELEASEDIR 1" end) -- the kernel says so when it likes
            fuse:close()
          end)
          for request in fuse do
            if request.opcode == "LOOKUP" then assert.is_true(request.pid > 0) end
            local step = ("%s %d"):format(request.opcode, request.nodeid)
            if step ~= last and step ~= "GETATTR 2" and message.wants_reply(request) then seen[#seen + 1] = step end
            last = step
            local handler = served[request.opcode]
            if handler then request:reply(handler(request)) else request:fail "ENOSYS" end
          end
        end)
        from:close()
        local expected = { "GETATTR 1", "LOOKUP 1", "OPEN 2", "READ 2", "FLUSH 2", "RELEASE 2", "OPENDIR 1", "READDIRPLUS 1", "RELEASEDIR 1" }
        local at = 1
        for _, step in ipairs(seen) do
          if step == expected[at] then at = at + 1 end
        end
        assert.equal(#expected + 1, at, table.concat(seen, ", "))
      end)

      it("serves by functions, whole files of any length, read and written", function()
        if not ready() then return end
        local files = { large = ("0123456789abcdef"):rep(40000), empty = "", written = "old" }
        serving(handlers(files), function(reader)
          assert.same({ "empty", "large", "written" }, reader:listdir(dir))
          assert.equal(files.large, reader:read_file(dir .. "/large"))
          assert.equal("", reader:read_file(dir .. "/empty"))
          assert.equal(#files.large, reader:copy_to(dir .. "/large", way.root, dir .. ".copy"))
          assert.equal(files.large, way.root:read_file(dir .. ".copy"))
          way.root:unlink(dir .. ".copy")
          local stat = reader:stat(dir .. "/large")
          assert.same({ "file", "0600", #files.large, 1234.5 }, { stat.type, stat.permissions, stat.st_size, stat.st_mtime })
          local fd = reader:open(dir .. "/written", "O_WRONLY|O_TRUNC")
          local new = ("new"):rep(100000)
          fd:write(new)
          fd:close()
          assert.equal(new, files.written)
          assert.equal("ENOENT", raised.err(reader.open, reader, dir .. "/missing").name)
          assert.equal("ENOSYS", raised.err(reader.mkdir, reader, dir .. "/x").name)
        end)
      end)

      it("answers several at once, each when its answer is there", function()
        if not ready() then return end
        local waiting, go = 0, false
        local served = handlers({ slow = "slow", fast = "fast" }, {
          GETXATTR = function(request)
            if request.nodeid == 3 then
              waiting = waiting + 1
              assert(probe.soon(function() return go end))
            end
            return "value"
          end,
        })
        serving(served, function(reader)
          local other = p:fork()
          local got
          afar.nursery(function(n)
            n:spawn(function() got = reader:run({ "getfattr", "--only-values", "-n", "user.a", dir .. "/slow", check = false }) end)
            assert.is_true(probe.soon(function() return waiting > 0 end))
            assert.equal("fast", other:read_file(dir .. "/fast"))
            probe.works(other)
            go = true
          end)
          assert.equal("value", got.stdout)
          other:exit(0)
        end)
      end)

      it("answers with the errno of what a function raises; other mistakes are EIO, and raised", function()
        if not ready() then return end
        serving(handlers({ a = "" }, { OPEN = function() p:open "/no/such/file" end }), function(reader)
          assert.equal("ENOENT", raised.err(reader.open, reader, dir .. "/a").name)
        end)
        local seen
        local ok, err = pcall(serving, handlers({ a = "" }, { OPEN = function() error("a mistake", 0) end }), function(reader)
          seen = raised.err(reader.open, reader, dir .. "/a").name
          afar.sleep(10) -- it is cancelled by the mistake
        end)
        assert.is_false(ok)
        assert.equal("a mistake", err)
        assert.is_true(seen == nil or seen == "EIO")
      end)

      it("lets go of who is killed while waiting for an answer", function()
        if not ready() then return end
        local asked, gone
        serving(handlers({ a = "" }, {
          OPEN = function() -- and its answer comes too late
            asked = true
            assert(probe.soon(function() return gone end))
          end,
        }), function(reader)
          local child = p:fork():exec { "cat", dir .. "/a" }
          assert.is_true(probe.soon(function() return asked end))
          child:kill "SIGKILL"
          assert.equal("SIGKILL", afar.timeout(60, child.wait, child).signal)
          gone = true
          assert.same({ "a" }, reader:listdir(dir))
        end)
      end)

      it("leaves callers with a clear error when nobody serves any more", function()
        if not ready() then return end
        local fuse, reader = p:fuse(dir), p:fork()
        fuse.process.child:kill "SIGKILL"
        fuse.process:wait()
        assert.equal("ENOTCONN", raised.err(reader.open, reader, dir .. "/a").name)
        fuse:close()
        p:umount2(dir, "MNT_DETACH")
        reader:exit(0)
      end)

      it("ends its sequence when somebody unmounts it", function()
        if not ready() then return end
        local fuse = p:fuse(dir)
        local ended
        afar.timeout(60, afar.nursery, function(n)
          n:spawn(function()
            for _ in fuse do error "nobody asks" end
            ended = true
          end)
          p:umount(dir)
        end)
        assert.is_true(ended)
        fuse:close()
      end)

      it("refuses bad input, and leaves nothing mounted", function()
        if not ready() then return end
        local before = probe.holds(way.root)
        fails("an absolute path was expected", p.fuse, p, "here")
        fails('there is no option "alow_other"; did you mean "allow_other"?', p.fuse, p, dir, { alow_other = true })
        assert.equal("ENOENT", raised.err(p.fuse, p, dir .. "/missing").name)
        assert.same(before, probe.holds(way.root, before))
        for _, mount in ipairs(p:mounts()) do assert.not_equal(dir, mount.target) end
      end)
    end)
  end)
end

describe("a message of fuse", function()
  for _, name in ipairs { "x86_64", "aarch64" } do
    local m = sys.machine(name)

    local function request(opcode, nodeid, body)
      local fields = { len = 40 + #body, opcode = m.C["FUSE_" .. opcode], unique = 7, nodeid = nodeid, uid = 1, gid = 2, pid = 3 }
      local header = ffi.new(m.ctype.fuse_in_header, fields)
      return message.decode(m, ffi.string(header, 40) .. body)
    end

    local function struct(ctype, fields) return ffi.string(ffi.new(m.ctype[ctype], fields), ffi.sizeof(m.ctype[ctype])) end

    it("is taken apart, on " .. name, function()
      local init = request("INIT", 0, struct("fuse_init_in", { major = 7, minor = 31, max_readahead = 131072, flags = 0x73fffb }))
      assert.same({ "INIT", 7, 31, 131072, 0x73fffb }, { init.opcode, init.major, init.minor, init.max_readahead, init.flags })
      local rename = request("RENAME2", 5, struct("fuse_rename2_in", { newdir = 6, flags = 1 }) .. "old\0new\0")
      assert.same({ 5, 6, 1, "old", "new" }, { rename.nodeid, rename.newdir, rename.flags, rename.name, rename.newname })
      local write = request("WRITE", 2, struct("fuse_write_in", { fh = 9, offset = 2 ^ 40, size = 3 }) .. "a\0b")
      assert.same({ 9, 2 ^ 40, "a\0b" }, { write.fh, write.offset, write.data })
      assert.equal("OPCODE_999", message.decode(m, struct("fuse_in_header", { opcode = 999 })).opcode)
      fails("a request of 3 bytes", message.decode, m, "abc")
    end)

    it("is put together, on " .. name, function()
      local init = request("INIT", 0, "")
      local bytes = message.reply(m, init, { major = 7, minor = 31, max_write = 4096, max_pages = 32 })
      local header, body = ffi.new(m.ctype.fuse_out_header), ffi.new(m.ctype.fuse_init_out)
      ffi.copy(header, bytes, 16)
      ffi.copy(body, bytes:sub(17), ffi.sizeof(body))
      assert.same({ #bytes, 0, 7 }, { header.len, header.error, tonumber(header.unique) })
      assert.same({ 7, 31, 4096, 32 }, { body.major, body.minor, body.max_write, body.max_pages })
      local lookup = request("LOOKUP", 1, "x\0")
      assert.equal(16 + 128, #message.reply(m, lookup, { nodeid = 2, attr = { type = "symlink" } }))
      assert.equal(16, #message.failure(m, lookup, "ENOENT"))
      fails("an entry is", message.reply, m, lookup, {})
      fails('there is no type of file "fil" (did you mean "file"?)', message.reply, m, lookup, { nodeid = 2, attr = { type = "fil" } })
      fails('a file has no attribute "length"', message.reply, m, lookup, { nodeid = 2, attr = { length = 2 } })
      fails("there is no error ENOTHING", message.failure, m, lookup, "ENOTHING")
      fails("FLUSH is answered by nothing, not by string", message.reply, m, request("FLUSH", 2, struct("fuse_flush_in", {})), "x")
      local read = request("READ", 2, struct("fuse_read_in", { size = 2 }))
      fails("READ asked for 2 bytes at most, not for 3", message.reply, m, read, "abc")
      fails("READ is answered by a string, not by nil", message.reply, m, read)
    end)

    it("lists as many entries as there is room for, on " .. name, function()
      local list = {}
      for i = 1, 10 do list[i] = { name = ("x"):rep(i), ino = i } end
      local seen, offset = 0, 0
      repeat
        local bytes = message.reply(m, request("READDIR", 1, struct("fuse_read_in", { offset = offset, size = 100 })), list):sub(17)
        assert.equal(0, #bytes % 8)
        assert.is_true(#bytes <= 100)
        local at, dirent = 0, ffi.new(m.ctype.fuse_dirent)
        while at < #bytes do
          ffi.copy(dirent, bytes:sub(at + 1), 24)
          seen, offset = seen + 1, tonumber(dirent.off)
          assert.equal(seen, dirent.namelen)
          at = at + 24 + math.ceil(dirent.namelen / 8) * 8
        end
      until #bytes == 0
      assert.equal(10, seen)
    end)
  end
end)
